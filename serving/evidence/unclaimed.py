"""Exposures of experiments that nobody registered: kept aside, within a limit, until somebody does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, func, select

from serving.evidence import bulk
from serving.evidence.event import SECOND, Answer, Event, Exposure, Refusal
from serving.evidence.limits import Limits
from serving.evidence.schema import experiments, unclaimed


def refuse_unknown(connection: Connection, events: Sequence[Event], limits: Limits) -> list[Answer]:
    """Refuses events of unregistered experiments, in their order; exposures are kept aside while there is room."""
    shown = [event for event in events if isinstance(event, Exposure)]
    kept = _keep(connection, shown, limits) if shown else False
    told = "kept aside until somebody does" if kept else f"and {limits.unclaimed_events} such exposures wait already"
    answers: list[Answer] = []
    for event in events:
        reason = f"experiment {event.experiment!r}: nobody registered it"
        reason += f"; {told}" if isinstance(event, Exposure) else ""
        answers.append(Refusal(event.event_id, reason, "unknown"))
    return answers


def some_claimed(connection: Connection, most: int) -> list[Exposure]:
    """Exposures whose experiment is registered by now."""
    query = select(unclaimed.c.event).where(unclaimed.c.experiment.in_(select(experiments.c.name))).limit(most)
    return [Exposure(**json.loads(event)) for event in connection.execute(query).scalars()]


def forget(connection: Connection, events: Sequence[Exposure]) -> None:
    """Lets exposures go that were taken in."""
    for name in {event.experiment for event in events}:
        ids = [event.exposure_id for event in events if event.experiment == name]
        mine = (unclaimed.c.experiment == name, unclaimed.c.exposure_id.in_(ids))
        connection.execute(delete(unclaimed).where(*mine))


def forget_unit(connection: Connection, unit: str, experiment: str | None) -> int:
    """Lets all exposures of a unit go; returns how many."""
    mine = [unclaimed.c.unit == unit]
    if experiment is not None:
        mine.append(unclaimed.c.experiment == experiment)
    return connection.execute(delete(unclaimed).where(*mine)).rowcount


def _keep(connection: Connection, shown: Sequence[Exposure], limits: Limits) -> bool:
    now_us = round(time.time() * SECOND)
    old = unclaimed.c.came_us < now_us - round(limits.unclaimed_s * SECOND)
    connection.execute(delete(unclaimed).where(old))
    waiting = connection.execute(select(func.count()).select_from(unclaimed)).scalar_one()
    if waiting + len(shown) > limits.unclaimed_events:
        return False
    records = [
        {
            "experiment": event.experiment,
            "exposure_id": event.exposure_id,
            "unit": event.unit,
            "came_us": now_us,
            "event": json.dumps(asdict(event)),
        }
        for event in shown
    ]
    bulk.insert_new(connection, unclaimed, records)
    return True
