"""The plain way: one row an insert into a table of raw events, and GROUP BY whenever the evidence is wanted."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Index,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
    text,
)

metadata = MetaData()
exposures = Table(
    "plain_exposures",
    metadata,
    Column("id", String, primary_key=True),
    Column("unit", String, index=True),
    Column("arm", String),
    Column("time", Float),
)
outcomes = Table(
    "plain_outcomes",
    metadata,
    Column("id", String, primary_key=True),
    Column("unit", String),
    Column("metric", String),
    Column("value", Float),
    Column("time", Float),
    Index("ix_plain_outcomes_unit", "unit"),
)


@dataclass(frozen=True)
class Plain:
    """What the plain way costs."""

    events_per_s: float
    read_s: float


def measure(engine: Engine, *, units: int, inserts: int, stored: int) -> Plain:
    """Rate of `inserts` committed one by one, and the read-out once `stored` events are there."""
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(exposures),
            [{"id": f"x{n}", "unit": f"user-{n}", "arm": "bc"[n % 2], "time": 0.0} for n in range(units)],
        )
    started = time.perf_counter()
    for n in range(inserts):
        with engine.begin() as connection:
            row = {"id": f"o{n}", "unit": f"user-{n * 7919 % units}", "metric": "click", "value": 1.0, "time": 1.0}
            connection.execute(insert(outcomes), row)
    rate = inserts / (time.perf_counter() - started)
    _fill(engine, units, inserts, stored)
    return Plain(rate, min(_read(engine) for _ in range(3)))


def _fill(engine: Engine, units: int, first: int, stored: int) -> None:
    step = 50_000
    for begin in range(first, stored, step):
        rows = [
            {"id": f"o{n}", "unit": f"user-{n * 7919 % units}", "metric": "click", "value": 1.0, "time": 1.0}
            for n in range(begin, min(begin + step, stored))
        ]
        with engine.begin() as connection:
            connection.execute(insert(outcomes), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _read(engine: Engine) -> float:
    """Mean and variance of clicks a unit in each arm, from raw events."""
    unit = (
        select(exposures.c.arm, exposures.c.unit, func.coalesce(func.sum(outcomes.c.value), 0.0).label("value"))
        .select_from(exposures.outerjoin(outcomes, exposures.c.unit == outcomes.c.unit))
        .where(outcomes.c.metric == "click")
        .group_by(exposures.c.arm, exposures.c.unit)
        .subquery()
    )
    squares = func.sum(unit.c.value * unit.c.value)
    query = select(unit.c.arm, func.count(), func.sum(unit.c.value), squares).group_by(unit.c.arm)
    started = time.perf_counter()
    with engine.connect() as connection:
        connection.execute(query).all()
    return time.perf_counter() - started
