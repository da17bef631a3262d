"""The load generator against servers whose behaviour is known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from benchmarks.serving.load import Outcome, Target, closed_loop, moments_of, open_loop

Answer = Callable[[], Awaitable[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
FULL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nfull"
BINARY = b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}1234567"


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
            text = await answer()
            for piece in (text[:-1], text[-1:]):  # as a long answer arrives
                writer.write(piece)
                await asyncio.sleep(0.001)
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


def test_an_open_loop_sends_every_request_of_its_schedule_and_counts_every_answer() -> None:
    outcome = load(at_once, lambda target: open_loop(target, rate=200, seconds=0.5))
    assert (len(outcome.latency_ms), outcome.failed) == (100, 0)
    assert outcome.offered == pytest.approx(100 / moments_of(200, 0.5)[-1])
    assert 0 < outcome.p50 <= outcome.p95 <= outcome.p99


def test_an_answer_of_binary_tensors_ends_where_its_own_length_says() -> None:
    async def binary() -> bytes:
        return BINARY

    outcome = load(binary, lambda target: closed_loop(target, clients=1, seconds=0.2))
    assert len(outcome.latency_ms) > 1
    assert outcome.failed == 0


def test_a_schedule_has_its_rate_and_is_the_same_for_the_same_seed() -> None:
    moments = moments_of(rate=50, seconds=200, seed=1)
    assert len(moments) == 10_000
    assert moments[-1] == pytest.approx(200, rel=0.05)  # 10,000 gaps: five standard deviations
    assert (np.diff(moments) > 0).all()
    assert (moments == moments_of(rate=50, seconds=200, seed=1)).all()
    assert (moments != moments_of(rate=50, seconds=200, seed=2)).any()


def test_pooled_runs_count_as_one() -> None:
    runs = [Outcome(10, 2, (1.0, 3.0), 1), Outcome(20, 1, (5.0,), 0)]
    pooled = Outcome.pooled(runs)
    assert (pooled.offered, pooled.throughput, pooled.p50, pooled.failed) == (15, 1, 3, 1)


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


def test_a_closed_loop_keeps_so_many_requests_under_way_and_no_more() -> None:
    under_way: list[int] = [0]
    seen: list[int] = []

    async def counts() -> bytes:
        under_way[0] += 1
        seen.append(under_way[0])
        await asyncio.sleep(0.02)
        under_way[0] -= 1
        return OK

    outcome = load(counts, lambda target: closed_loop(target, clients=4, seconds=0.5))
    assert max(seen) == 4
    assert len(outcome.latency_ms) == len(seen)
    assert outcome.failed == 0
