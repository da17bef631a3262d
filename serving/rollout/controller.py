"""The loop around reconcile(): everything every few seconds, what changed at once, what failed again soon.

Events of a watch only make it faster. A rollout is looked at every `interval_s` whatever is told (one that is over,
every ENDED_S), so that lost, late and repeated events are harmless. Every rollout's look is a task of its own: none
waits for another's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from model.errors import Fault
from serving.rollout.fence import LostLeadershipError
from serving.rollout.reconcile import Outcome, Reconciler
from serving.rollout.store import Key, Store

log = logging.getLogger(__name__)

CONFLICT_S = 0.2
"""After somebody else's write, before the next look."""
ENDED_S = 30.0
"""Between two looks at a rollout that is over, unless it is woken."""
TICK_S = 0.001
"""A timer may ring early by the clock's resolution."""
STANDBY_S = 1.0
"""Between two looks of a process that does not lead at whether it does now."""


@dataclass
class Controller:
    """Looks at all rollouts beside each other, never twice at once at the same."""

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
    _running: dict[Key | None, asyncio.Task[None]] = field(default_factory=dict)
    """Looks that have begun, by rollout; at None the listing of all."""
    _resting: dict[Key, float] = field(default_factory=dict)
    """Until when (the loop's clock) a rollout that is over is left alone."""
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self, key: Key) -> None:
        """Look at this rollout at once; if it is being looked at, once more after that."""
        self._woken.add(key)
        self._bell.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or until a look fails in an unforeseen way, which is raised.

        Either way a look that has begun is ended before this returns.
        """
        loop = asyncio.get_running_loop()
        due = loop.time()
        failed: list[asyncio.Task[None]] = []
        try:
            while not stop.is_set() and not failed:
                self._bell.clear()
                self.turned(self.leads())
                if loop.time() + TICK_S >= due:
                    due = loop.time() + (self.interval_s if self.leads() else min(self.interval_s, STANDBY_S))
                    self._begin(None, self._all(), failed)
                for key in self._woken - self._running.keys():
                    self._woken.discard(key)
                    self._begin(key, self._look(key), failed)
                await self._pause(stop, max(0.0, due - loop.time()))
            if self._running:
                await asyncio.wait(self._running.values())
        finally:  # something is left only where this was cancelled itself
            for task in self._running.values():
                task.cancel()
        for task in failed:
            task.result()

    def _begin(self, key: Key | None, work: Coroutine[Any, Any, None], failed: list[asyncio.Task[None]]) -> None:
        """A task for it, unless the one before still runs."""
        if key in self._running:
            work.close()
            return
        task = self._running[key] = asyncio.create_task(work)

        def ended(task: asyncio.Task[None]) -> None:
            del self._running[key]
            if not task.cancelled() and task.exception() is not None:
                failed.append(task)
            self._bell.set()

        task.add_done_callback(ended)

    async def _look(self, key: Key) -> None:
        if not self.leads():
            return
        begun = time.monotonic()
        try:
            outcome = await self.reconciler.reconcile(key)
        except LostLeadershipError as error:
            log.warning("%s: %s", key, error)
            return
        if outcome == "ended":
            self._resting[key] = asyncio.get_running_loop().time() + ENDED_S
        else:
            self._resting.pop(key, None)
        self.told(key, outcome, time.monotonic() - begun)
        if outcome == "conflict":
            asyncio.get_running_loop().call_later(CONFLICT_S, self.wake, key)

    async def _all(self) -> None:
        """Wake every rollout that there is."""
        if not self.leads():
            return
        try:
            now = asyncio.get_running_loop().time()
            self._woken.update(key for key in await self.store.keys() if self._resting.get(key, now) <= now)
        except Fault as error:
            log.warning("%s", error)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        waits = [asyncio.create_task(self._bell.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
