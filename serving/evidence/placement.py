"""Counts exposures of a phase that came before it was registered: a step over the units that have some."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, select

from serving.evidence import aggregate_store, experiment_store, unit_store
from serving.evidence.contribution import Change, deltas
from serving.evidence.engine import reading, writing
from serving.evidence.experiment_store import Experiment
from serving.evidence.intake import replay_units
from serving.evidence.schema import phases, unplaced

UNITS = 500
"""Units of a transaction."""


def place(engine: Engine, name: str) -> None:
    """Counts what waited for its phase to be registered. Each transaction leaves a whole state, so it may end anywhere.

    Raises UnknownExperimentError.
    """
    while _pending(engine, name):
        with writing(engine) as connection:
            place_some(connection, experiment_store.lock_one(connection, name))


def place_some(connection: Connection, experiment: Experiment) -> None:
    """One step, in the caller's transaction."""
    mine = (unplaced.c.experiment_id == experiment.id, unplaced.c.phase.in_(sorted(experiment.catalogue.phases)))
    names = set(connection.execute(select(unplaced.c.unit).where(*mine).limit(UNITS)).scalars())
    if not names:
        return
    before = unit_store.load(connection, experiment, names)
    after = replay_units(connection, experiment, before, names)
    changes = [Change(before.get(name), state) for name, state in after.items()]
    unit_store.save(connection, experiment, before, after)
    aggregate_store.add(connection, experiment, deltas(changes, experiment.catalogue, experiment.settled_us))
    connection.execute(delete(unplaced).where(*mine, unplaced.c.unit.in_(sorted(names))))


def _pending(engine: Engine, name: str) -> bool:
    with reading(engine) as connection:
        number = experiment_store.read(connection, name).id
        here = (unplaced.c.experiment_id == phases.c.experiment_id) & (unplaced.c.phase == phases.c.phase)
        found = select(unplaced.c.unit).join(phases, here).where(unplaced.c.experiment_id == number).limit(1)
        return connection.execute(found).first() is not None
