"""Exposures of experiments that nobody registered: kept aside, within limits, until somebody does.

How many there are is kept beside them, so that one more costs the same however many wait.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from serving.evidence import bulk
from serving.evidence.event import SECOND, Answer, Event, Exposure, Refusal
from serving.evidence.limits import Limits
from serving.evidence.schema import experiments, unclaimed, unclaimed_counts

STEP = 500
"""Exposures of one statement."""


def refuse_unknown(
    connection: Connection, events: Mapping[str, Sequence[Event]], limits: Limits
) -> dict[str, list[Answer]]:
    """Refuses events of unregistered experiments, by name and in their order; exposures are kept aside while there is
    room: `unknown` where they are, `no_room` where they are not."""
    return {name: _refuse(connection, name, events[name], limits) for name in sorted(events)}  # locks in one order


def _refuse(connection: Connection, name: str, events: Sequence[Event], limits: Limits) -> list[Answer]:
    shown = [event for event in events if isinstance(event, Exposure)]
    full = _keep(connection, name, shown, limits) if shown else None
    told = full or "kept aside until somebody does"
    kind = "no_room" if full else "unknown"
    nobody = f"experiment {name!r}: nobody registered it"
    return [
        Refusal(event.event_id, f"{nobody}; {told}", kind)
        if isinstance(event, Exposure)
        else Refusal(event.event_id, nobody, "unknown")
        for event in events
    ]


def some_claimed(connection: Connection, most: int) -> list[Exposure]:
    """Exposures whose experiment is registered by now."""
    registered = select(experiments.c.name).where(experiments.c.name.in_(select(unclaimed_counts.c.experiment)))
    query = select(unclaimed.c.event).where(unclaimed.c.experiment.in_(registered)).limit(most)
    return [Exposure(**json.loads(event)) for event in connection.execute(query).scalars()]


def forget(connection: Connection, events: Sequence[Exposure]) -> None:
    """Lets exposures go that were taken in."""
    _delete(connection, [(event.experiment, event.exposure_id) for event in events])


def some_old(connection: Connection, limits: Limits, most: int) -> list[tuple[str, str]]:
    """Experiment and id of exposures that have waited for too long, the oldest first."""
    old = unclaimed.c.came_us < round((time.time() - limits.unclaimed_s) * SECOND)
    query = select(unclaimed.c.experiment, unclaimed.c.exposure_id).where(old).order_by(unclaimed.c.came_us)
    return [(row[0], row[1]) for row in connection.execute(query.limit(most))]


def forget_old(connection: Connection, limits: Limits) -> None:
    """Lets some of them go."""
    _delete(connection, some_old(connection, limits, STEP))


def forget_unit(connection: Connection, unit: str, experiment: str | None) -> int:
    """Lets all exposures of a unit go; returns how many."""
    query = select(unclaimed.c.experiment, unclaimed.c.exposure_id).where(unclaimed.c.unit == unit)
    if experiment is not None:
        query = query.where(unclaimed.c.experiment == experiment)
    return _delete(connection, [(row[0], row[1]) for row in connection.execute(query)])


def _delete(connection: Connection, keys: Sequence[tuple[str, str]]) -> int:
    _lock(connection, {name for name, _ in keys})
    gone = Counter[str]()
    for begin in range(0, len(keys), STEP):
        mine = tuple_(unclaimed.c.experiment, unclaimed.c.exposure_id).in_(keys[begin : begin + STEP])
        gone += Counter(connection.execute(delete(unclaimed).where(mine).returning(unclaimed.c.experiment)).scalars())
    for name in sorted(gone):
        _add(connection, name, -gone[name])
        _tidy(connection, name)
    return gone.total()


def _keep(connection: Connection, name: str, shown: Sequence[Exposure], limits: Limits) -> str | None:
    """Keeps exposures aside; returns why there is no room."""
    bulk.insert_new(connection, unclaimed_counts, [{"experiment": name, "events": 0}])
    mine = _lock(connection, [name])
    keys = tuple_(unclaimed.c.experiment, unclaimed.c.exposure_id)
    new = {event.exposure_id: event for event in shown}
    for begin in range(0, len(shown), STEP):
        wanted = [(name, event.exposure_id) for event in shown[begin : begin + STEP]]
        for known in connection.execute(select(unclaimed.c.exposure_id).where(keys.in_(wanted))).scalars():
            new.pop(known, None)
    every = connection.execute(select(func.coalesce(func.sum(unclaimed_counts.c.events), 0))).scalar_one()
    for waiting, most, of in (
        (mine, limits.unclaimed_name_events, "of it"),
        (every, limits.unclaimed_events, "of such experiments"),
    ):
        if waiting + len(new) > most:
            _tidy(connection, name)
            return f"and there is no room: {waiting} exposures {of} wait, at most {most} may"
    now_us = round(time.time() * SECOND)
    records = [
        {
            "experiment": name,
            "exposure_id": event.exposure_id,
            "unit": event.unit,
            "came_us": now_us,
            "event": json.dumps(asdict(event)),
        }
        for event in new.values()
    ]
    bulk.insert_new(connection, unclaimed, records)
    _add(connection, name, len(records))
    return None


def _lock(connection: Connection, names: Collection[str]) -> int:
    """Whoever changes what waits of an experiment takes turns; returns how many wait of these."""
    here = unclaimed_counts.c.experiment.in_(sorted(names))
    query = select(unclaimed_counts.c.events).where(here).order_by(unclaimed_counts.c.experiment)
    return sum(connection.execute(query.with_for_update()).scalars())


def _add(connection: Connection, name: str, number: int) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    more = {"events": unclaimed_counts.c.events + number}  # the row may have been tidied away since it was locked
    row = insert(unclaimed_counts).values(experiment=name, events=number)
    connection.execute(row.on_conflict_do_update(index_elements=["experiment"], set_=more))


def _tidy(connection: Connection, name: str) -> None:
    none = (unclaimed_counts.c.experiment == name, unclaimed_counts.c.events <= 0)
    connection.execute(delete(unclaimed_counts).where(*none))
