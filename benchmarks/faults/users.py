"""Open-loop users that remember every answer, and every outcome that they were promised to be kept."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field, replace
from types import TracebackType

from serving.gateway.assignment import Arm
from serving.traffic.gateway_client import Answer, GatewayClient
from serving.traffic.load import LoadOptions, prepare
from serving.traffic.outcome_poster import Event, OutcomePoster
from serving.traffic.ranking_call import RankingCall
from serving.traffic.replay import Replay
from serving.traffic.visits import Visit

READY_S = 60.0
FLUSH_S = 120.0
"""How long a store that was hurt may take for the last outcomes."""


@dataclass(frozen=True)
class Seen:
    """One answer. at: monotonic. outcome, arm, exposure_id: as in traffic.gateway_client.Answer."""

    at: float
    took_s: float
    outcome: str
    arm: Arm | None
    exposure_id: str | None


class _Client(GatewayClient):
    def __init__(self, address: str, call: RankingCall, seen: list[Seen], *, timeout_s: float) -> None:
        super().__init__(address, call, timeout_s=timeout_s)
        self._seen = seen

    async def rank(self, visit: Visit, request_id: str) -> Answer:
        """As the plain one; the answer is remembered."""
        begun = time.monotonic()
        answer = await super().rank(visit, request_id)
        now = time.monotonic()
        self._seen.append(Seen(now, now - begun, answer.outcome, answer.arm, answer.exposure_id))
        return answer


class _Poster(OutcomePoster):
    def __init__(self, address: str) -> None:
        super().__init__(address, None)
        self.ids: list[str] = []

    def put(self, events: list[Event]) -> None:
        """As the plain one; ids are remembered in their order, which is the order of acknowledgement."""
        super().put(events)
        self.ids += [event["event_id"] for event in events]


@dataclass
class Users:
    """As a context: they come until it is left; then what they earned is delivered. Raises what the replay raised."""

    options: LoadOptions
    seen: list[Seen] = field(default_factory=list)
    refused: int = 0
    _acknowledged: tuple[str, ...] = ()
    _failure: Exception | None = None
    _replay: Replay | None = None
    _poster: _Poster | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Users:
        self._thread = threading.Thread(target=self._live, name="users", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + READY_S
        while sum(one.outcome == "ok" for one in self.seen) < self.options.rate and self._thread.is_alive():
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._replay is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._replay.stop)
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    @property
    def acknowledged(self) -> tuple[str, ...]:
        """Ids of the outcomes that the service took; whole once the context was left."""
        return self._acknowledged

    @property
    def trouble(self) -> str | None:
        """Why outcomes are not acknowledged at this moment."""
        return None if self._poster is None else self._poster.trouble

    def _live(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001  raised by the thread that waits for the users
            self._failure = error

    async def _run(self) -> None:
        plan, call = prepare(self.options)
        client = _Client(self.options.gateway, call, self.seen, timeout_s=self.options.timeout_s)
        self._poster = _Poster(str(self.options.evidence))
        self._loop = asyncio.get_running_loop()
        self._replay = Replay(replace(plan, flush_s=FLUSH_S), client, self._poster)
        try:
            await self._replay.require_ready()
            await self._replay.run(lambda _: None)
        finally:
            await client.close()
            await self._poster.close()
            self.refused = self._poster.refused.total()
            # First in, first acknowledged.
            self._acknowledged = tuple(self._poster.ids[: self._poster.accepted + self.refused])
