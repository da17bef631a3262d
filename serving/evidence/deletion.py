"""Deletes what is kept of a unit, as if it had never been seen."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, func, select

from serving.evidence import aggregate_store, experiment_store, unit_store
from serving.evidence.contribution import Change, deltas
from serving.evidence.engine import reading, writing
from serving.evidence.experiment_store import Experiment
from serving.evidence.schema import exposures, outcomes


def delete_unit(engine: Engine, unit: str, experiment: str | None = None) -> int:
    """Deletes a unit in one experiment or in all: raw events, rows, and its part of every aggregate.

    Returns the number of raw events that were deleted. Snapshots of evidence hold sums alone and stay as they are.
    Raises UnknownExperimentError.
    """
    if experiment is None:
        with reading(engine) as connection:
            names = experiment_store.names(connection)
    else:
        names = [experiment]
    deleted = 0
    for name in names:
        with writing(engine) as connection:
            deleted += _delete(connection, experiment_store.lock_one(connection, name), unit)
    return deleted


def _delete(connection: Connection, experiment: Experiment, unit: str) -> int:
    events = _count(connection, experiment, unit)
    states = unit_store.load(connection, experiment, [unit])
    changes = [Change(state, None) for state in states.values()]
    aggregate_store.add(connection, experiment, deltas(changes, experiment.catalogue, experiment.settled_us))
    unit_store.remove(connection, experiment, unit)
    return events


def _count(connection: Connection, experiment: Experiment, unit: str) -> int:
    found = 0
    for table, column in ((exposures, exposures.c.unit), (outcomes, outcomes.c.owner)):
        query = select(func.count()).select_from(table)
        found += connection.execute(query.where(table.c.experiment_id == experiment.id, column == unit)).scalar_one()
    return found
