"""The loop around reconcile(): everything every few seconds, what changed at once, what failed again soon.

Events of a watch only make it faster. A rollout is looked at every `interval_s` whatever is told, so that lost, late
and repeated events are harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from model.errors import Fault
from serving.rollout.fence import LostLeadershipError
from serving.rollout.reconcile import Outcome, Reconciler
from serving.rollout.store import Key, Store

log = logging.getLogger(__name__)

CONFLICT_S = 0.2
"""After somebody else's write, before the next look."""

AT_ONCE = 16
"""Rollouts that are looked at beside each other."""
STANDBY_S = 1.0
"""Between two looks of a process that does not lead at whether it does now."""


@dataclass
class Controller:
    """Looks at all rollouts, at many at once, never twice at the same."""

    store: Store
    reconciler: Reconciler
    leads: Callable[[], bool] = lambda: True
    """Whether this process may write; while it may not, nothing is looked at."""
    interval_s: float = 5.0
    """Between two looks at the same rollout: half of the ten seconds that a breach may take."""
    told: Callable[[Key, Outcome, float], None] = lambda key, outcome, seconds: None
    """Hears every outcome, and how long the look took; for metrics."""
    turned: Callable[[bool], None] = lambda leads: None
    """Hears every turn of the loop, and whether this process leads."""
    _woken: set[Key] = field(default_factory=set)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self, key: Key) -> None:
        """Look at this rollout at once."""
        self._woken.add(key)
        self._bell.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. A look that has begun is ended."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            self.turned(self.leads())
            if loop.time() >= due:
                due = loop.time() + (self.interval_s if self.leads() else min(self.interval_s, STANDBY_S))
                await self.look(await self._all())
            else:
                woken, self._woken = self._woken, set()
                await self.look(tuple(woken))
            self._bell.clear()
            if not self._woken:
                await self._pause(stop, max(0.0, due - loop.time()))

    async def look(self, keys: tuple[Key, ...]) -> None:
        """Reconcile these, unless another process leads. One that waits for what does not answer holds no other up."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(key: Key) -> None:
            async with turns:
                await self._look(key)

        await asyncio.gather(*map(one, keys))

    async def _look(self, key: Key) -> None:
        if not self.leads():
            return
        begun = time.monotonic()
        try:
            outcome = await self.reconciler.reconcile(key)
        except LostLeadershipError as error:
            log.warning("%s: %s", key, error)
            return
        self.told(key, outcome, time.monotonic() - begun)
        if outcome == "conflict":
            asyncio.get_running_loop().call_later(CONFLICT_S, self.wake, key)

    async def _all(self) -> tuple[Key, ...]:
        if not self.leads():
            return ()
        try:
            return await self.store.keys()
        except Fault as error:
            log.warning("%s", error)
            return ()

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        waits = [asyncio.create_task(self._bell.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
