"""Ends an experiment: its evidence stays, and all that is kept of single units goes."""

from __future__ import annotations

from sqlalchemy import Engine, Table, delete, select

from serving.evidence import experiment_store
from serving.evidence.engine import writing
from serving.evidence.maturity import settle
from serving.evidence.schema import deletions, exposures, outcomes, unit_phases, units, unplaced

ROWS = 20_000
"""Rows of a transaction."""


def end(engine: Engine, name: str, now_us: int) -> int:
    """Takes nothing more, and deletes raw events, rows of units and notes of deletions; returns the raw events.

    Evidence stays as it is now: units whose window is open stay out. May be repeated, and may end anywhere. Raises
    UnknownExperimentError.
    """
    settle(engine, name, now_us)
    with writing(engine) as connection:
        experiment = experiment_store.lock_one(connection, name)
        if experiment.ended_us is None:
            experiment_store.set_ended(connection, experiment, now_us)
    gone = sum(_empty(engine, table, experiment.id) for table in (exposures, outcomes))
    for table in (unplaced, unit_phases, units, deletions):
        _empty(engine, table, experiment.id)
    return gone


def _empty(engine: Engine, table: Table, experiment: int) -> int:
    gone = 0
    place = next(column for column in table.primary_key if column.name != "experiment_id")
    while True:
        some = select(place).where(table.c.experiment_id == experiment).limit(ROWS)
        with writing(engine) as connection:
            mine = (table.c.experiment_id == experiment, place.in_(some))
            done = connection.execute(delete(table).where(*mine)).rowcount
        gone += done
        if not done:
            return gone
