"""Units enter a metric's aggregate when their window has closed: a step over those whose time has come."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, select

from serving.evidence import aggregate_store, experiment_store, unit_store
from serving.evidence.contribution import Change, deltas
from serving.evidence.engine import writing
from serving.evidence.experiment_store import Experiment
from serving.evidence.placement import place
from serving.evidence.schema import unit_phases

STEP = 2000
"""Rows of a transaction, about."""


def settle(engine: Engine, name: str, now_us: int) -> int:
    """Counts what has matured by `now_us`, and exposures whose phase was registered late; returns the time by which
    windows count as closed. It never moves back.

    Costs what the rows cost that have matured since. Each transaction leaves a whole state, so it may end anywhere.
    Raises UnknownExperimentError.
    """
    place(engine, name)
    while True:
        with writing(engine) as connection:
            experiment = experiment_store.lock_one(connection, name)
            if experiment.settled_us >= now_us:
                return experiment.settled_us
            _step(connection, experiment, now_us)


def _step(connection: Connection, experiment: Experiment, now_us: int) -> None:
    due = (unit_phases.c.experiment_id == experiment.id, unit_phases.c.due_us <= now_us)
    times = select(unit_phases.c.due_us).where(*due).order_by(unit_phases.c.due_us)
    until = connection.execute(times.limit(1).offset(STEP)).scalar() or now_us
    query = select(unit_phases.c.unit).distinct().where(unit_phases.c.experiment_id == experiment.id)
    names = connection.execute(query.where(unit_phases.c.due_us <= until)).scalars().all()
    states = unit_store.load(connection, experiment, names)
    changes = [Change(state, state) for state in states.values()]
    unit_store.save(connection, experiment, states, states, settled_us=until)
    aggregate_store.add(connection, experiment, deltas(changes, experiment.catalogue, experiment.settled_us, until))
    experiment_store.set_settled(connection, experiment, until)
