"""The clock at the edge: wall time for decisions, and how far it jumped against the time that really went by."""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.rollout.facts import Clock

TOLERANCE_S = 2.0
"""Wall and monotonic clock may drift apart by this much between two decisions without it being a jump."""


class Timekeeper:
    """One rollout's clock in one process. Milliseconds: a moment must survive its text in the status."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last: tuple[float, float] | None = None

    def read(self) -> Clock:
        """The time now."""
        now, ticks = round(self._wall(), 3), self._monotonic()
        jumped = 0.0
        if self._last is not None:
            apart = (now - self._last[0]) - (ticks - self._last[1])
            jumped = round(apart, 3) if abs(apart) > TOLERANCE_S else 0.0
        self._last = (now, ticks)
        return Clock(now=now, jumped=jumped)
