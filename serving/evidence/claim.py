"""Takes in the exposures that waited for their experiment to be registered, and lets those go that waited too long."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Engine

from serving.evidence import unclaimed
from serving.evidence.engine import reading, writing
from serving.evidence.event import Refusal
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.telemetry import Telemetry

STEP = 500
"""Exposures of a transaction."""


def claim(engine: Engine, limits: Limits, telemetry: Telemetry | None = None) -> Counter[str]:
    """One transaction of them; returns how many were accepted, or refused by kind. Empty: none are left, and what was
    too old is gone."""
    _let_go(engine, limits)
    with reading(engine) as connection:
        if not unclaimed.some_claimed(connection, 1):
            return Counter()
    with writing(engine) as connection:
        events = unclaimed.some_claimed(connection, STEP)
        answers = take(connection, events, limits)
        unclaimed.forget(connection, events)
    if telemetry is not None:
        telemetry.answered("exposure", answers)
    return Counter(answer.kind if isinstance(answer, Refusal) else "accepted" for answer in answers)


def _let_go(engine: Engine, limits: Limits) -> None:
    while True:
        with reading(engine) as connection:
            if not unclaimed.some_old(connection, limits, 1):
                return
        with writing(engine) as connection:
            unclaimed.forget_old(connection, limits)
