"""What bounds a unit's events and finds what retention, deletion and late phases ask for without a scan."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns, tables and indexes; a unit's cap of events begins anew."""
    op.add_column("experiments", sa.Column("ended_us", sa.BigInteger(), nullable=True))
    op.add_column("experiments", sa.Column("salt", sa.LargeBinary(), nullable=True))
    op.add_column("outcomes", sa.Column("folded", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("units", sa.Column("loose", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("units", sa.Column("last_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("units", sa.Column("oldest_us", sa.BigInteger(), nullable=True))
    op.add_column("unit_phases", sa.Column("taken", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("unit_phases", sa.Column("last_us", sa.BigInteger(), nullable=False, server_default="0"))
    _make_tables()
    _make_indexes()
    op.execute(_TIMES)
    op.execute(_UNPLACED)


def downgrade() -> None:
    """Takes them away; units that were deleted may come back with a repeated delivery."""
    op.drop_index("ix_units_experiment_id_oldest_us", "units")
    for name in ("unowned", "folded", "by_exposure", "by_request", "experiment_id_owner"):
        op.drop_index(f"ix_outcomes_{name}", "outcomes")
    op.drop_index("ix_exposures_experiment_id_request_id_unit_time_us", "exposures")
    op.create_index("ix_exposures_experiment_id_request_id", "exposures", ["experiment_id", "request_id"])
    columns = ["experiment_id", "owner", "metric", "time_us"]
    op.create_index("ix_outcomes_experiment_id_owner_metric_time_us", "outcomes", columns)
    _reference_index("by_exposure", ["experiment_id", "exposure_id"])
    _reference_index("by_request", ["experiment_id", "request_id"])
    for table in ("unplaced", "deletions", "log_positions"):
        op.drop_table(table)
    op.create_table("log_positions", sa.Column("path", sa.String(length=1024), nullable=False), *_place())
    dropped = {"experiments": ("ended_us", "salt"), "outcomes": ("folded",), "unit_phases": ("taken", "last_us")}
    for table, names in {**dropped, "units": ("loose", "last_us", "oldest_us")}.items():
        for name in names:
            op.drop_column(table, name)


def _make_tables() -> None:
    op.create_table(
        "unplaced",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "phase", "unit", name=op.f("pk_unplaced")),
    )
    op.create_table(
        "deletions",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "digest", name=op.f("pk_deletions")),
    )
    # A place without the reader's name is anybody's: logs are read again, and ids make that harmless.
    op.drop_table("log_positions")
    op.create_table(
        "log_positions",
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        *_place(),
        sa.Column("head", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("source", "path", name=op.f("pk_log_positions")),
    )


def _place() -> tuple[sa.Column[int], ...]:
    return tuple(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("inode", "position"))


def _make_indexes() -> None:
    op.drop_index("ix_exposures_experiment_id_request_id", "exposures")
    op.create_index(
        "ix_exposures_experiment_id_request_id_unit_time_us",
        "exposures",
        ["experiment_id", "request_id", "unit", "time_us"],
    )
    for name in ("by_exposure", "by_request", "experiment_id_owner_metric_time_us"):
        op.drop_index(f"ix_outcomes_{name}", "outcomes")
    op.create_index("ix_outcomes_experiment_id_owner", "outcomes", ["experiment_id", "owner"])
    _reference_index("by_exposure", ["experiment_id", "exposure_id", "unit"])
    _reference_index("by_request", ["experiment_id", "request_id", "unit"])
    for name, where in (("unowned", sa.text("owner IS NULL")), ("folded", sa.text("folded"))):
        columns = ["experiment_id", "time_us"]
        op.create_index(f"ix_outcomes_{name}", "outcomes", columns, postgresql_where=where, sqlite_where=where)
    op.create_index("ix_units_experiment_id_oldest_us", "units", ["experiment_id", "oldest_us"])


def _reference_index(name: str, columns: list[str]) -> None:
    where = sa.text(f"{columns[1]} IS NOT NULL")
    op.create_index(f"ix_outcomes_{name}", "outcomes", columns, postgresql_where=where, sqlite_where=where)


_TIMES = """
UPDATE units SET
  last_us = coalesce((
    SELECT max(o.time_us) FROM outcomes o WHERE o.experiment_id = units.experiment_id AND o.owner = units.unit
  ), 0),
  oldest_us = (
    SELECT min(time_us) FROM (
      SELECT e.time_us FROM exposures e WHERE e.experiment_id = units.experiment_id AND e.unit = units.unit
      UNION ALL
      SELECT o.time_us FROM outcomes o WHERE o.experiment_id = units.experiment_id AND o.owner = units.unit
    ) AS events
  )
"""

_UNPLACED = """
INSERT INTO unplaced (experiment_id, phase, unit)
SELECT DISTINCT e.experiment_id, e.phase, e.unit FROM exposures e
WHERE NOT EXISTS (SELECT 1 FROM phases p WHERE p.experiment_id = e.experiment_id AND p.phase = e.phase)
"""
