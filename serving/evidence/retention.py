"""Lets raw events go after a time: what they led to stays, in the rows of their units and in the aggregates."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, delete, select

from serving.evidence import aggregate_store, bulk, experiment_store, tombstone, unit_store
from serving.evidence.contribution import Change, TallyKey, deltas
from serving.evidence.engine import writing
from serving.evidence.event import Exposure, Outcome
from serving.evidence.experiment_store import Experiment
from serving.evidence.reference import References
from serving.evidence.schema import exposures, outcomes, units
from serving.evidence.unit import UnitState, replay

UNITS = 500
"""Units of a transaction."""


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
        gone = _drop_unowned(connection, experiment, horizon_us)
        gone += _drop_folded(connection, experiment, horizon_us)
    while True:
        with writing(engine) as connection:
            experiment = experiment_store.lock_one(connection, name)
            names = _units(connection, experiment, horizon_us)
            if not names:
                return gone
            gone += _fold(connection, experiment, names, horizon_us)


def _drop_unowned(connection: Connection, experiment: Experiment, horizon_us: int) -> int:
    """Gives up outcomes that name an exposure which never came."""
    mine = (outcomes.c.experiment_id == experiment.id, outcomes.c.owner.is_(None), outcomes.c.time_us < horizon_us)
    gone = connection.execute(delete(outcomes).where(*mine)).rowcount
    if gone:
        aggregate_store.add(connection, experiment, {TallyKey("waiting", -1): [-gone]})
    return gone


def _drop_folded(connection: Connection, experiment: Experiment, horizon_us: int) -> int:
    """Deletes outcomes that were kept only to know a repeated delivery; one is refused for its time from now on."""
    mine = (outcomes.c.experiment_id == experiment.id, outcomes.c.folded, outcomes.c.time_us < horizon_us)
    return connection.execute(delete(outcomes).where(*mine)).rowcount


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
