"""The tables of the evidence store; the same on SQLite and PostgreSQL.

Three levels: raw events (to know a repeated delivery, for audit, for deletion), rows of units, and aggregates, which
are all that a verdict reads. Times are microseconds since 1970, values are millionths: whole numbers, so that sums do
not depend on the order of events.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

ID_LENGTH = 256
"""Characters of a unit, event, exposure or request id."""
NAME_LENGTH = 128
"""Characters of the name of an experiment, metric or outcome."""


class Exact(TypeDecorator[int]):
    """A whole number of any size: NUMERIC on PostgreSQL; text on SQLite, whose integers end at 64 bits."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type that the database has."""
        return dialect.type_descriptor(Numeric() if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """As digits: both databases read them."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Back to a whole number."""
        return None if value is None else int(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _name(column: str, **options: Any) -> Column[str]:
    return Column(column, String(NAME_LENGTH), nullable=False, **options)


def _id(column: str, *, nullable: bool = False, **options: Any) -> Column[str]:
    return Column(column, String(ID_LENGTH), nullable=nullable, **options)


def _whole(column: str, **options: Any) -> Column[int]:
    return Column(column, Integer, nullable=False, **options)


def _time(column: str, *, nullable: bool = False) -> Column[int]:
    return Column(column, BigInteger, nullable=nullable)


def _experiment(*, checked: bool = True, **options: Any) -> Column[int]:
    # Events and units are written while their experiment's row is locked: a check of each would cost, and find nothing.
    keys = (ForeignKey("experiments.id"),) if checked else ()
    return Column("experiment_id", Integer, *keys, nullable=False, **options)


def _run(*, checked: bool = True, **options: Any) -> Column[int]:
    return Column("run_id", Integer, *((ForeignKey("runs.id"),) if checked else ()), nullable=False, **options)


def _exacts(*names: str) -> tuple[Column[int], ...]:
    return tuple(Column(name, Exact, nullable=False) for name in names)


experiments = Table(
    "experiments",
    metadata,
    Column("id", Integer, primary_key=True),
    _name("name", unique=True),
    _time("settled_us"),  # aggregates hold the units whose window had closed by then
    _time("horizon_us"),  # raw events before it were folded away, and none are taken
    _time("ended_us", nullable=True),  # from then on nothing is taken, and raw events and rows of units are gone
    Column("salt", LargeBinary, nullable=True),  # of `deletions`; none: no unit was deleted
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    _experiment(),
    _id("baseline_digest"),
    _id("candidate_digest"),
    Column("design", Text, nullable=False),
    Column("bounds", Text, nullable=False),
    _time("registered_us"),
    UniqueConstraint("experiment_id", "baseline_digest", "candidate_digest"),
)

phases = Table(
    "phases",
    metadata,
    _experiment(primary_key=True, autoincrement=False),
    Column("phase", Integer, primary_key=True, autoincrement=False),
    _run(),
    _time("start_us"),
    Column("candidate_weight", Float, nullable=False),
)

exposures = Table(
    "exposures",
    metadata,
    _experiment(checked=False, primary_key=True, autoincrement=False),
    _id("exposure_id", primary_key=True),
    _id("unit"),
    _id("request_id", nullable=True),
    Column("arm", String(9), nullable=False),
    _id("digest"),
    _whole("phase"),
    _time("time_us"),
    Column("propensity", Float),
    Column("forced", Boolean, nullable=False),
    Index(None, "experiment_id", "unit", "time_us"),
    Index(None, "experiment_id", "request_id", "unit", "time_us"),
)

unplaced = Table(
    "unplaced",  # units with exposures of a phase that nobody registered yet
    metadata,
    _experiment(checked=False, primary_key=True, autoincrement=False),
    Column("phase", Integer, primary_key=True, autoincrement=False),
    _id("unit", primary_key=True),
)

unclaimed = Table(
    "unclaimed",  # exposures of experiments that nobody registered yet
    metadata,
    _name("experiment", primary_key=True),
    _id("exposure_id", primary_key=True),
    _id("unit"),
    _time("came_us"),
    Column("event", Text, nullable=False),  # JSON
    Index(None, "came_us"),
    Index(None, "unit"),
)

unclaimed_counts = Table(
    "unclaimed_counts",  # of `unclaimed`, so that nobody has to count them
    metadata,
    _name("experiment", primary_key=True),
    _whole("events"),
)

outcomes = Table(
    "outcomes",
    metadata,
    _experiment(checked=False, primary_key=True, autoincrement=False),
    _id("event_id", primary_key=True),
    _name("metric"),
    Column("value", BigInteger, nullable=False),
    _time("time_us"),
    _id("unit", nullable=True),
    _id("exposure_id", nullable=True),
    _id("request_id", nullable=True),
    _id("owner", nullable=True),  # the unit that it counts for: the one it names, or its exposure's
    Column("folded", Boolean, nullable=False),  # counted in its unit's folded state; kept to know a repeated delivery
    Index(None, "experiment_id", "owner"),
)
_BY_EXPOSURE = Index(
    "ix_outcomes_by_exposure",
    outcomes.c.experiment_id,
    outcomes.c.exposure_id,
    outcomes.c.unit,
    postgresql_where=outcomes.c.exposure_id.is_not(None),
    sqlite_where=outcomes.c.exposure_id.is_not(None),
)
_BY_REQUEST = Index(
    "ix_outcomes_by_request",
    outcomes.c.experiment_id,
    outcomes.c.request_id,
    outcomes.c.unit,
    postgresql_where=outcomes.c.request_id.is_not(None),
    sqlite_where=outcomes.c.request_id.is_not(None),
)
_UNOWNED = Index(
    "ix_outcomes_unowned",
    outcomes.c.experiment_id,
    outcomes.c.time_us,
    postgresql_where=outcomes.c.owner.is_(None),
    sqlite_where=outcomes.c.owner.is_(None),
)
_FOLDED = Index(
    "ix_outcomes_folded",
    outcomes.c.experiment_id,
    outcomes.c.time_us,
    postgresql_where=outcomes.c.folded,
    sqlite_where=outcomes.c.folded,
)

units = Table(
    "units",
    metadata,
    _experiment(checked=False, primary_key=True, autoincrement=False),
    _id("unit", primary_key=True),
    Column("timeline", Text, nullable=False),
    Column("covariates", Text, nullable=False),
    Column("excluded", Text, nullable=False),
    _whole("waiting"),
    Column("capped", Boolean, nullable=False),
    Column("folded", Text),  # the state before the horizon, where raw events are gone
    Column("loose", Text, nullable=False),
    _time("last_us"),
    _time("oldest_us", nullable=True),
    Index(None, "experiment_id", "oldest_us"),
)

deletions = Table(
    "deletions",  # units that were deleted, by a keyed hash: what happened before is not taken again
    metadata,
    _experiment(checked=False, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, primary_key=True),
    _time("until_us"),
)

unit_phases = Table(
    "unit_phases",
    metadata,
    _experiment(checked=False, primary_key=True, autoincrement=False),
    _id("unit", primary_key=True),
    Column("phase", Integer, primary_key=True, autoincrement=False),
    _run(checked=False),
    Column("arm", String(9), nullable=False),
    _time("entry_us"),
    _whole("slice"),
    Column("crossed", Boolean, nullable=False),
    Column("totals", Text, nullable=False),
    _time("due_us", nullable=True),  # when the next metric matures
    Column("taken", Text, nullable=False),
    _time("last_us"),
)
_DUE = Index(
    "ix_unit_phases_due",
    unit_phases.c.experiment_id,
    unit_phases.c.due_us,
    postgresql_where=unit_phases.c.due_us.is_not(None),
    sqlite_where=unit_phases.c.due_us.is_not(None),
)

aggregates = Table(
    "aggregates",
    metadata,
    _run(primary_key=True, autoincrement=False),
    Column("metric", SmallInteger, primary_key=True, autoincrement=False),  # place in the design
    Column("phase", Integer, primary_key=True, autoincrement=False),
    Column("slice", Integer, primary_key=True, autoincrement=False),
    Column("arm", String(9), primary_key=True),
    *_exacts("units", "late"),
    *_exacts("value", "denominator", "covariate"),
    *_exacts("value_value", "value_denominator", "value_covariate"),
    *_exacts("denominator_denominator", "denominator_covariate", "covariate_covariate"),
)

cross_aggregates = Table(
    "cross_aggregates",
    metadata,
    _run(primary_key=True, autoincrement=False),
    Column("metric", SmallInteger, primary_key=True, autoincrement=False),
    Column("phase_a", Integer, primary_key=True, autoincrement=False),
    Column("slice_a", Integer, primary_key=True, autoincrement=False),
    Column("arm_a", String(9), primary_key=True),
    Column("phase_b", Integer, primary_key=True, autoincrement=False),
    Column("slice_b", Integer, primary_key=True, autoincrement=False),
    Column("arm_b", String(9), primary_key=True),
    *_exacts("units"),
    *_exacts("value_a", "denominator_a", "covariate_a"),
    *_exacts("value_b", "denominator_b", "covariate_b"),
    *_exacts("value_value", "value_denominator", "value_covariate"),
    *_exacts("denominator_value", "denominator_denominator", "denominator_covariate"),
    *_exacts("covariate_value", "covariate_denominator", "covariate_covariate"),
)

exposed = Table(
    "exposed",
    metadata,
    _run(primary_key=True, autoincrement=False),
    Column("phase", Integer, primary_key=True, autoincrement=False),
    Column("slice", Integer, primary_key=True, autoincrement=False),
    Column("arm", String(9), primary_key=True),
    *_exacts("units", "new_units"),
)

tallies = Table(
    "tallies",
    metadata,
    _experiment(primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),
    Column("phase", Integer, primary_key=True, autoincrement=False),  # -1: of no phase
    *_exacts("number"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _run(primary_key=True, autoincrement=False),
    Column("as_of_us", BigInteger, primary_key=True, autoincrement=False),
    Column("evidence", LargeBinary, nullable=False),  # JSON, compressed
)

log_positions = Table(
    "log_positions",
    metadata,
    _id("source", primary_key=True),  # who reads: the name of the machine
    Column("path", String(1024), primary_key=True),
    Column("inode", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("head", String(128), nullable=False),  # length and digest of the file's first bytes
)
