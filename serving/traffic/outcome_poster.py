"""Posts outcomes to the evidence service in batches, each at least once: what is not acknowledged is sent again."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any, Final

import aiohttp
import numpy as np
import orjson

from model.errors import Fault
from serving.traffic.connection import reason_of

BATCH: Final = 1000
"""Events of one request; the service takes 5,000."""
MOST: Final = 1_000_000
"""Events that wait for a service that is down; beyond it the replay ends with an error, not with a hole."""
_PAUSE_S: Final = 0.2
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_AGAIN: Final = frozenset({404, 408, 429})
"""Answers that tell nothing of the events."""

UNKNOWN: Final = "unknown"
"""The service's kind for an experiment, or a metric of it, that it does not know."""

Event = dict[str, Any]


class OutcomePoster:
    """One sender; `put` never waits. accepted, refused, uncounted: events by the service's own answers."""

    def __init__(self, address: str, token: str | None, *, timeout_s: float = 10.0) -> None:
        self.address = address.rstrip("/")
        self.retries = 0
        self.trouble: str | None = None
        """Why the last attempt failed; None: it did not."""
        self._accepted: Counter[str] = Counter()
        """By metric."""
        self._refused: Counter[tuple[str, str]] = Counter()
        """By metric and kind."""
        self._reasons: dict[str, str] = {}
        """Of the first refusal of each metric."""
        self._waiting: deque[Event] = deque()
        self._ends = asyncio.Event()
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=timeout_s))
        self._jitter = np.random.default_rng()  # of waits alone; no outcome depends on it

    async def close(self) -> None:
        await self._session.close()

    @property
    def accepted(self) -> int:
        return self._accepted.total()

    @property
    def uncounted(self) -> dict[str, int]:
        """Events of metrics that the experiment does not count, by metric: the service knows the experiment, for it has
        taken others of it, and has taken none of these."""
        unknown = {metric: count for (metric, kind), count in self._refused.items() if kind == UNKNOWN}
        other = {metric for metric, kind in self._refused if kind != UNKNOWN} | self._accepted.keys()
        return {metric: count for metric, count in unknown.items() if metric not in other} if self._accepted else {}

    @property
    def refused(self) -> Counter[str]:
        """All others that it did not take, by the service's kind of refusal."""
        left_out, kinds = self.uncounted, Counter[str]()
        for (metric, kind), count in self._refused.items():
            if metric not in left_out:
                kinds[kind] += count
        return kinds

    @property
    def first_refusal(self) -> str | None:
        """Why the first of these was not taken."""
        left_out = self.uncounted
        return next((reason for metric, reason in self._reasons.items() if metric not in left_out), None)

    @property
    def waiting(self) -> int:
        """Events that are not acknowledged yet."""
        return len(self._waiting)

    def put(self, events: list[Event]) -> None:
        """Takes events. Raises Fault where too many wait."""
        if len(self._waiting) + len(events) > MOST:
            raise Fault(f"evidence {self.address}: {MOST:,} outcomes wait, and it takes none: {self.trouble}")
        self._waiting.extend(events)

    async def require_ready(self) -> None:
        """Raises Fault where the service is not there."""
        try:
            async with self._session.get(f"{self.address}/health/ready") as answer:
                if answer.status != 200:
                    raise Fault(f"evidence {self.address}: /health/ready answers {answer.status}; 200 would be right")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Fault(f"evidence {self.address} does not answer: {reason_of(error)}") from None

    async def run(self) -> None:
        """Sends until `finish`. Raises Fault where the service refuses this sender (its token, or its batches)."""
        wait_s = _FIRST_WAIT_S
        while True:
            if not self._waiting:
                if self._ends.is_set():
                    return
                await self._pause(_PAUSE_S)
                continue
            if await self._send():
                wait_s = _FIRST_WAIT_S
                if len(self._waiting) < BATCH:
                    await self._pause(_PAUSE_S)
            else:
                self.retries += 1
                await asyncio.sleep(wait_s * self._jitter.uniform(0.5, 1.0))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def finish(self) -> None:
        """No more is put; `run` returns when all is acknowledged."""
        self._ends.set()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._ends.wait(), seconds)
        except TimeoutError:
            return

    async def _send(self) -> bool:
        """One batch; False: it has to be sent again."""
        batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
        try:
            async with self._session.post(f"{self.address}/v1/outcomes", data=orjson.dumps(batch)) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.trouble = reason_of(error)
            return False
        if answer.status in _AGAIN or answer.status >= 500:
            self.trouble = f"it answers {answer.status}"
            return False
        if answer.status != 200:
            raise Fault(f"evidence {self.address} answers {answer.status} to outcomes: {content[:200]!r}")
        self._count(content, batch)
        for _ in batch:
            self._waiting.popleft()
        self.trouble = None
        return True

    def _count(self, content: bytes, batch: list[Event]) -> None:
        try:
            answers = orjson.loads(content)["answers"]
            told = [(each["status"] == "accepted" or str(each["kind"]), str(each.get("reason"))) for each in answers]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Fault(f"evidence {self.address} answers what it should not: {error!r}") from None
        if len(told) != len(batch):
            raise Fault(f"evidence {self.address}: {len(told)} answers to {len(batch)} outcomes")
        for event, (kind, reason) in zip(batch, told, strict=True):
            metric = str(event["metric"])
            if kind is True:
                self._accepted[metric] += 1
            else:
                self._refused[metric, str(kind)] += 1
                self._reasons.setdefault(metric, reason)
