"""Lets raw events go after a time: what they led to stays, in the rows of their units and in the aggregates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Connection, Engine, delete, select

from serving.evidence import aggregate_store, bulk, experiment_store, tombstone, unit_store
from serving.evidence.contribution import Change, TallyKey, deltas
from serving.evidence.engine import reading, writing
from serving.evidence.event import SECOND, Exposure, Outcome
from serving.evidence.experiment_store import Experiment
from serving.evidence.reference import References
from serving.evidence.schema import exposures, outcomes, units
from serving.evidence.unit import UnitState, replay

UNITS = 500
"""Units of a transaction."""
ROWS = 20_000
"""Raw events of a transaction that belong to no unit, or were folded."""

Step = Callable[[Connection, Experiment, int], int | None]
"""Works up to a horizon; returns how many events went, None: there is nothing left to do."""


def prune(engine: Engine, name: str, before_us: int) -> int:
    """Deletes the raw events of an experiment before a time and returns their number; no aggregate changes.

    From then on earlier events are refused, since a repeated one would not be known. An outcome is folded with the
    exposure that it names; one that still waits for its exposure is given up. Each transaction leaves a whole state.
    Raises UnknownExperimentError.
    """
    with writing(engine) as connection:
        experiment = experiment_store.lock_one(connection, name)
        horizon_us = max(before_us, experiment.horizon_us)
        experiment_store.set_horizon(connection, experiment, horizon_us)
        tombstone.let_go(connection, experiment, horizon_us)
    return sum(_each(engine, name, horizon_us, step) for step in (_drop_unowned, _drop_folded, _fold_some))


def shortened(engine: Engine, name: str, before_us: int, now_us: int) -> str | None:
    """Says so where a horizon lies inside a metric's window: outcomes that name their exposure come too late then."""
    with reading(engine) as connection:
        runs = experiment_store.read(connection, name).catalogue.runs.values()
    longest = max((metric.maturity_s for run in runs for metric in run.design.metrics), default=0.0)
    kept_s = (now_us - before_us) / SECOND
    if kept_s >= longest:
        return None
    return (
        f"experiment {name!r}: raw events are kept for {kept_s:g} s, and a metric waits {longest:g} s for its "
        f"outcomes: those that name an exposure which is gone do not count"
    )


def _each(engine: Engine, name: str, horizon_us: int, step: Step) -> int:
    """Repeats a step, each time in a transaction of its own, until it finds nothing; returns the events that went."""
    gone = 0
    while True:
        with writing(engine) as connection:
            done = step(connection, experiment_store.lock_one(connection, name), horizon_us)
        if done is None:
            return gone
        gone += done


def _drop_unowned(connection: Connection, experiment: Experiment, horizon_us: int) -> int | None:
    """Gives up outcomes that name an exposure which never came."""
    gone = _drop(connection, experiment, outcomes.c.owner.is_(None), horizon_us)
    if gone:
        aggregate_store.add(connection, experiment, {TallyKey("waiting", -1): [-gone]})
    return gone or None


def _drop_folded(connection: Connection, experiment: Experiment, horizon_us: int) -> int | None:
    """Deletes outcomes that were kept only to know a repeated delivery; one is refused for its time from now on."""
    return _drop(connection, experiment, outcomes.c.folded, horizon_us) or None


def _drop(connection: Connection, experiment: Experiment, which: ColumnElement[bool], horizon_us: int) -> int:
    mine = (outcomes.c.experiment_id == experiment.id, which, outcomes.c.time_us < horizon_us)
    some = select(outcomes.c.event_id).where(*mine).limit(ROWS)
    gone = delete(outcomes).where(outcomes.c.experiment_id == experiment.id, outcomes.c.event_id.in_(some))
    return connection.execute(gone).rowcount


def _fold_some(connection: Connection, experiment: Experiment, horizon_us: int) -> int | None:
    """Folds the old events of some units; None: no unit has any."""
    names = _units(connection, experiment, horizon_us)
    return _fold(connection, experiment, names, horizon_us) if names else None


def _units(connection: Connection, experiment: Experiment, horizon_us: int) -> list[str]:
    mine = (units.c.experiment_id == experiment.id, units.c.oldest_us < horizon_us)
    query = select(units.c.unit).where(*mine).order_by(units.c.oldest_us).limit(UNITS)
    return list(connection.execute(query).scalars())


def _fold(connection: Connection, experiment: Experiment, names: Sequence[str], horizon_us: int) -> int:
    folded = unit_store.load_folded(connection, experiment, names)
    shown, done = unit_store.load_events(connection, experiment, names)
    before = unit_store.load(connection, experiment, names)
    after: dict[str, UnitState] = {}
    gone: list[Exposure | Outcome] = []
    kept_ids: list[str] = []
    for name, state in before.items():
        seen, old, left = _split(shown[name], done[name], experiment, horizon_us)
        base = replay(folded[name], seen, old, experiment.catalogue)
        base.waiting, base.oldest_us = 0, None
        unit_store.fold(connection, experiment, name, base)
        kept = [event for event in shown[name] if event.time_us >= horizon_us]
        now = replay(base, kept, left, experiment.catalogue)
        now.covariates, now.capped = dict(state.covariates), state.capped
        if now.oldest_us is not None:  # an outcome may lie before the horizon, and the exposure that it names after it
            now.oldest_us = max(now.oldest_us, horizon_us)
        after[name] = now
        gone += [*seen, *(event for event in old if event.time_us < horizon_us)]
        kept_ids += [event.event_id for event in old if event.time_us >= horizon_us]
    changes = [Change(before[name], state) for name, state in after.items()]
    aggregate_store.add(connection, experiment, deltas(changes, experiment.catalogue, experiment.settled_us))
    unit_store.save(connection, experiment, before, after)
    _delete(connection, experiment, gone)
    bulk.update_ids(connection, outcomes, "event_id", kept_ids, {"folded": True}, experiment_id=experiment.id)
    return len(gone)


def _split(
    shown: Sequence[Exposure], done: Sequence[Outcome], experiment: Experiment, horizon_us: int
) -> tuple[list[Exposure], list[Outcome], list[Outcome]]:
    """Exposures to fold, outcomes to fold with them, and outcomes that are folded later."""
    references = References.of(shown, experiment.catalogue)
    old: list[Outcome] = []
    left: list[Outcome] = []
    for outcome in done:
        named = references.find(outcome) if outcome.by_reference else None
        time_us = outcome.time_us if named is None else named.time_us
        (old if time_us < horizon_us else left).append(outcome)
    return [event for event in shown if event.time_us < horizon_us], old, left


def _delete(connection: Connection, experiment: Experiment, events: Sequence[Exposure | Outcome]) -> None:
    for table, kind, column in ((exposures, Exposure, "exposure_id"), (outcomes, Outcome, "event_id")):
        ids = [event.event_id for event in events if isinstance(event, kind)]
        bulk.delete_ids(connection, table, column, ids, experiment_id=experiment.id)
