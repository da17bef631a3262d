"""The load generator against servers whose behaviour is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from benchmarks.serving.load import Outcome, Target, closed_loop, open_loop

Answer = Callable[[], Awaitable[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
FULL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nfull"


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """Answers every request on every connection; yields the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            except asyncio.IncompleteReadError:
                break
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.write(await answer())
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        await asyncio.sleep(0.02)  # lets the connections see that the client closed them


def load(answer: Answer, run: Callable[[Target], Awaitable[Outcome]]) -> Outcome:
    async def both() -> Outcome:
        async with server(answer) as port:
            return await run(Target.of([port], "/rank", [b"{}", b'{"user": "u"}']))

    return asyncio.run(both())


async def at_once() -> bytes:
    return OK


def test_an_open_loop_sends_at_its_rate_and_counts_every_answer() -> None:
    outcome = load(at_once, lambda target: open_loop(target, rate=200, seconds=0.5))
    assert outcome.failed == 0
    assert 140 < outcome.offered < 280  # 100 draws of an exponential gap
    assert abs(outcome.throughput / outcome.offered - 1) < 0.2
    assert outcome.p50 <= outcome.p95 <= outcome.p99


def test_a_stall_shows_in_all_requests_that_fell_into_it() -> None:
    first: list[float] = []

    async def stalls_once() -> bytes:
        """For 0.3 seconds from the first request on, all of the server stands still."""
        first.append(time.perf_counter())
        await asyncio.sleep(max(first[0] + 0.3 - first[-1], 0))
        return OK

    outcome = load(stalls_once, lambda target: open_loop(target, rate=100, seconds=0.6))
    assert outcome.failed == 0
    # A client that waits for answers before it sends would see one slow request in forty, and a p95 of nothing.
    assert outcome.p95 > 200


def test_other_answers_than_200_count_as_failed() -> None:
    async def refuses() -> bytes:
        return FULL

    outcome = load(refuses, lambda target: open_loop(target, rate=100, seconds=0.2))
    assert outcome.failed == 20
    assert outcome.throughput == 0


def test_a_closed_loop_keeps_so_many_requests_under_way() -> None:
    async def in_twenty_ms() -> bytes:
        await asyncio.sleep(0.02)
        return OK

    outcome = load(in_twenty_ms, lambda target: closed_loop(target, clients=4, seconds=0.5))
    assert 100 < outcome.throughput <= 200
    assert outcome.p50 >= 20
