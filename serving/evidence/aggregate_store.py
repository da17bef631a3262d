"""Aggregates in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, select

from serving.evidence import bulk
from serving.evidence.contribution import AggregateKey, CrossKey, ExposedKey, Key, Sums, TallyKey
from serving.evidence.experiment_store import Experiment
from serving.evidence.schema import aggregates, cross_aggregates, exposed, tallies


def add(connection: Connection, experiment: Experiment, sums: Sums) -> None:
    """Adds sums to what is stored; a row that comes to nothing is removed. The experiment is locked."""
    by_lead: dict[tuple[type[Key], int], Sums] = defaultdict(dict)
    for key, values in sums.items():
        by_lead[type(key), experiment.id if isinstance(key, TallyKey) else key.run][key] = values
    for (kind, lead), mine in sorted(by_lead.items(), key=lambda item: (item[0][0].__name__, item[0][1])):
        _add(connection, kind, lead, mine)


def read_run(connection: Connection, run: int) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]], Sequence[Row[Any]]]:
    """Aggregates, cross aggregates and exposed units of one run."""
    tables = (aggregates, cross_aggregates, exposed)
    found = [
        connection.execute(select(table).where(table.c.run_id == run).order_by(*table.primary_key)).all()
        for table in tables
    ]
    return found[0], found[1], found[2]


def read_tallies(connection: Connection, experiment: Experiment) -> dict[tuple[str, int], int]:
    """Counts by (kind, phase); phase is -1 where the kind has none."""
    rows = connection.execute(select(tallies).where(tallies.c.experiment_id == experiment.id))
    return {(row.kind, row.phase): row.number for row in rows}


def _add(connection: Connection, kind: type[Key], lead: int, sums: Sums) -> None:
    table, names = _TABLES[kind]
    leading = next(iter(table.primary_key)).name
    keys = {key: dict(zip(names, key, strict=True), **{leading: lead}) for key in sums}
    order = list(table.primary_key.columns.keys())
    values = [column.name for column in table.columns if not column.primary_key]
    stored = {
        tuple(getattr(row, name) for name in order): [row._mapping[name] for name in values]
        for row in bulk.fetch(connection, table, list(keys.values()), lead=leading)
    }
    written = []
    for key, record in keys.items():
        place = tuple(record[name] for name in order)
        new = [a + b for a, b in zip(stored.get(place, [0] * len(values)), sums[key], strict=True)]
        if any(new):
            written.append(record | dict(zip(values, map(str, new), strict=True)))
        elif place in stored:
            match = [table.c[name] == value for name, value in record.items()]
            connection.execute(delete(table).where(*match))
    bulk.upsert(connection, table, written)


_TABLES: dict[type[Key], tuple[Table, tuple[str, ...]]] = {
    AggregateKey: (aggregates, ("run_id", "metric", "phase", "slice", "arm")),
    CrossKey: (
        cross_aggregates,
        ("run_id", "metric", "phase_a", "slice_a", "arm_a", "phase_b", "slice_b", "arm_b"),
    ),
    ExposedKey: (exposed, ("run_id", "phase", "slice", "arm")),
    TallyKey: (tallies, ("kind", "phase")),
}
