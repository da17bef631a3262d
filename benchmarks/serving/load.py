"""An open-loop load generator on loopback, and a closed loop for capacity.

Open loop: requests have moments fixed beforehand (a Poisson process); a latency runs from that moment to the last byte
of the answer, also where the request had to wait for a connection, so that a stalled server cannot hide its stall
(coordinated omission). The client is a minimal HTTP/1.1 over asyncio: one write and one parse a request.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

TIMEOUT_S = 10.0
"""A request that has no answer by then counts as failed."""


class Pool(Protocol):
    """Connections to a server."""

    async def open(self, count: int) -> None: ...
    async def ask(self, place: int) -> int:
        """The status of the `place`-th request's answer. Raises TimeoutError or OSError."""

    async def close(self) -> None: ...


class Reachable(Protocol):
    """A server and the requests for it."""

    def pool(self) -> Pool: ...


@dataclass(frozen=True)
class Target:
    """Where requests go. ports: processes of one server, in turns. requests: whole HTTP requests, sent in turns."""

    ports: tuple[int, ...]
    requests: tuple[bytes, ...]

    @staticmethod
    def of(
        ports: Sequence[int], path: str, bodies: Sequence[bytes], headers: Sequence[Mapping[str, str]] | None = None
    ) -> Target:
        """headers: of each body, beside its length; none at all by default."""
        written = [_request(path, body, each) for body, each in zip(bodies, headers or [{}] * len(bodies), strict=True)]
        return Target(tuple(ports), tuple(written))

    def pool(self) -> Pool:
        return _Pool(self)


def _request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body


@dataclass(frozen=True)
class Outcome:
    """What one run saw. latency_ms of answers with status 200; failed: other answers, and none in time."""

    offered: float
    """Requests a second that were sent off; 0 for a closed loop."""
    seconds: float
    """From the first moment to the last answer."""
    latency_ms: tuple[float, ...]
    failed: int

    @staticmethod
    def pooled(runs: Sequence[Outcome]) -> Outcome:
        """Several runs as if they were one; at least one."""
        return Outcome(
            sum(run.offered for run in runs) / len(runs),
            sum(run.seconds for run in runs),
            tuple(latency for run in runs for latency in run.latency_ms),
            sum(run.failed for run in runs),
        )

    @property
    def throughput(self) -> float:
        """Answers with status 200 a second."""
        return len(self.latency_ms) / self.seconds

    @property
    def p50(self) -> float:
        return self.quantile(0.5)

    @property
    def p95(self) -> float:
        return self.quantile(0.95)

    @property
    def p99(self) -> float:
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """In ms; NaN where nothing was answered."""
        return float(np.quantile(self.latency_ms or [np.nan], share))


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at most."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._missing = -1
        self._status = 0
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """The status of the answer, once its last byte is there."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None:
            raise ConnectionError("asked before the connection was made")
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._missing < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self._status = int(head[9:12])
            at = head.index(b"\r\ncontent-length:") + 17  # not Inference-Header-Content-Length
            stop = head.find(b"\r\n", at)
            self._missing = end + 4 + int(head[at : stop if stop >= 0 else None])
        if len(self._buffer) >= self._missing:
            self._buffer.clear()
            self._missing = -1
            self._settle(self._status)

    def connection_lost(self, _: Exception | None) -> None:
        self._settle(0)

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _settle(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class _Pool:
    """Connections that are reused last in, first out; opened ahead so that no request pays for it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._free: dict[int, deque[_Connection]] = {port: deque() for port in target.ports}
        self._all: list[_Connection] = []

    async def open(self, count: int) -> None:
        for place in range(count):
            port = self._target.ports[place % len(self._target.ports)]
            self._free[port].append(await self._connect(port))

    async def ask(self, place: int) -> int:
        """The status of the `place`-th request's answer. Raises TimeoutError or OSError."""
        port = self._target.ports[place % len(self._target.ports)]
        free = self._free[port]
        while free:
            connection = free.pop()
            if connection.usable:
                break
        else:
            connection = await self._connect(port)
        async with asyncio.timeout(TIMEOUT_S):
            status = await connection.ask(self._target.requests[place % len(self._target.requests)])
        free.append(connection)
        return status

    async def close(self) -> None:
        for connection in self._all:
            connection.close()

    async def _connect(self, port: int) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
        self._all.append(connection)
        return connection


class _Tally:
    def __init__(self) -> None:
        self.latency_ms: list[float] = []
        self.failed = 0
        self.last = time.perf_counter()

    async def one(self, pool: Pool, place: int, moment: float) -> None:
        try:
            status = await pool.ask(place)
        except (TimeoutError, OSError):
            status = 0
        self.last = time.perf_counter()
        if status == 200:
            self.latency_ms.append(1000 * (self.last - moment))
        else:
            self.failed += 1


def moments_of(rate: float, seconds: float, seed: int = 0) -> npt.NDArray[np.float64]:
    """When each of `rate` x `seconds` requests (at least one) is due, in seconds: a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=max(int(rate * seconds), 1))
    return np.cumsum(gaps)


async def open_loop(target: Reachable, rate: float, seconds: float, seed: int = 0) -> Outcome:
    """`rate` requests a second for `seconds`, whatever the server does; then waits for what is under way."""
    moments = moments_of(rate, seconds, seed)
    pool, tally = target.pool(), _Tally()
    tasks: set[asyncio.Task[None]] = set()
    await pool.open(16)
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for place, moment in enumerate(moments + begin):
            wait = moment - time.perf_counter()
            if wait > 0.0005:
                await asyncio.sleep(wait - 0.0003)
            while moment > time.perf_counter():  # the event loop's clock is too coarse for the rest
                await asyncio.sleep(0)
            task = asyncio.create_task(tally.one(pool, place, float(moment)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=TIMEOUT_S + 1)
    finally:
        gc.enable()
        await pool.close()
    return Outcome(len(moments) / float(moments[-1]), tally.last - begin, tuple(tally.latency_ms), tally.failed)


async def closed_loop(target: Reachable, clients: int, seconds: float) -> Outcome:
    """`clients` that each send their next request when the last one is answered: what the server can do."""
    pool, tally = target.pool(), _Tally()
    await pool.open(clients)
    begin = time.perf_counter()

    async def client(first: int) -> None:
        place = first
        while time.perf_counter() - begin < seconds:
            await tally.one(pool, place, time.perf_counter())
            place += clients

    await asyncio.gather(*(client(each) for each in range(clients)))
    await pool.close()
    return Outcome(0.0, tally.last - begin, tuple(tally.latency_ms), tally.failed)


async def one_by_one(target: Reachable, places: Sequence[int]) -> list[float]:
    """Seconds of each request, sent when the last one is answered, on one connection: latency without any load."""
    pool, seconds = target.pool(), []
    await pool.open(1)
    for place in places:
        begin = time.perf_counter()
        if await pool.ask(place) == 200:
            seconds.append(time.perf_counter() - begin)
    await pool.close()
    return seconds
