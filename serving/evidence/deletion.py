"""Deletes what is kept of a unit, as if it had never been seen."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from serving.evidence import aggregate_store, bulk, experiment_store, reference_store, tombstone, unclaimed, unit_store
from serving.evidence.contribution import Change, TallyKey, deltas
from serving.evidence.engine import reading, writing
from serving.evidence.experiment_store import Experiment
from serving.evidence.schema import outcomes


def delete_unit(engine: Engine, unit: str, now_us: int, experiment: str | None = None) -> int:
    """Deletes a unit in one experiment or in all: raw events, rows, and its part of every aggregate.

    Events of it from before now are not taken again, so that a repeated delivery does not bring it back; outcomes that
    name a request id of it and of others without a unit go too. Returns the number of raw events that were deleted.
    Snapshots of evidence hold sums alone and stay as they are. Raises UnknownExperimentError.
    """
    if experiment is None:
        with reading(engine) as connection:
            names = experiment_store.names(connection)
    else:
        names = [experiment]
    with writing(engine) as connection:
        deleted = unclaimed.forget_unit(connection, unit, experiment)
    for name in names:
        with writing(engine) as connection:
            deleted += _delete(connection, experiment_store.lock_one(connection, name), unit, now_us)
    return deleted


def _delete(connection: Connection, experiment: Experiment, unit: str, now_us: int) -> int:
    states = unit_store.load(connection, experiment, [unit])
    shown, done = unit_store.load_events(connection, experiment, [unit])
    changes = [Change(state, None) for state in states.values()]
    sums = deltas(changes, experiment.catalogue, experiment.settled_us)
    shared = reference_store.ambiguous(connection, experiment, shown[unit])
    if shared:
        key = TallyKey("waiting", -1)
        sums[key] = [sums.get(key, [0])[0] - len(shared)]
    aggregate_store.add(connection, experiment, sums)
    bulk.delete_ids(connection, outcomes, "event_id", shared, experiment_id=experiment.id)
    times = [*(event.time_us for event in shown[unit]), *(event.time_us for event in done[unit])]
    latest_us = max([now_us, *times])  # a sender's clock may be ahead
    events = unit_store.remove(connection, experiment, unit)
    if experiment.ended_us is None:
        tombstone.keep(connection, experiment, unit, latest_us)
    return events + len(shared)
