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

Event = dict[str, Any]


class OutcomePoster:
    """One sender; `put` never waits. accepted, refused: events by the service's own answers."""

    def __init__(self, address: str, token: str | None, *, timeout_s: float = 10.0) -> None:
        self.address = address.rstrip("/")
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.first_refusal: str | None = None
        self.retries = 0
        self.trouble: str | None = None
        """Why the last attempt failed; None: it did not."""
        self._waiting: deque[Event] = deque()
        self._ends = asyncio.Event()
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=timeout_s))
        self._jitter = np.random.default_rng()  # of waits alone; no outcome depends on it

    async def close(self) -> None:
        await self._session.close()

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
        self._count(content, len(batch))
        for _ in batch:
            self._waiting.popleft()
        self.trouble = None
        return True

    def _count(self, content: bytes, sent: int) -> None:
        try:
            answers = orjson.loads(content)["answers"]
            refused = [each for each in answers if each["status"] != "accepted"]
            kinds = [str(each["kind"]) for each in refused]
        except (ValueError, KeyError, TypeError) as error:
            raise Fault(f"evidence {self.address} answers what it should not: {error!r}") from None
        if len(answers) != sent:
            raise Fault(f"evidence {self.address}: {len(answers)} answers to {sent} outcomes")
        self.accepted += sent - len(refused)
        self.refused.update(kinds)
        if refused and self.first_refusal is None:
            self.first_refusal = str(refused[0].get("reason"))
