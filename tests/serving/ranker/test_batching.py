"""Queue and batches, with a scorer that the test holds in its hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait

import numpy as np
import pytest

from model.errors import Fault
from serving.ranker.batching import Batcher, Outcome, Waiting
from serving.ranker.refusal import DeadlinePassed, Draining, QueueFull, RequestError
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import BatchSettings

LONG = 20.0


def request(name: str, rows: int = 1) -> RankRequest:
    return RankRequest(name, ("i",) * rows)


def answer(asked: RankRequest) -> RankAnswer:
    none = np.zeros((len(asked.items), 1), np.float32)
    return RankAnswer("d", ("t",), none, none[:, 0], np.arange(len(asked.items), dtype=np.int32), asked.user)


class Gate:
    """A score function that waits until it is opened, and remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def __call__(self, asked: Sequence[RankRequest]) -> list[Outcome]:
        self.batches.append([each.user for each in asked])
        self.entered.release()
        assert self.open.wait(LONG)
        return [RequestError("wrong") if each.user == "wrong" else answer(each) for each in asked]


def held(batcher: Batcher, gate: Gate) -> Future[RankAnswer]:
    """The first request, being scored until the gate opens."""
    first = batcher.submit(request("first"), LONG)
    assert gate.entered.acquire(timeout=LONG)
    return first


def test_requests_that_wait_are_scored_together_oldest_first_within_the_rows() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings(rows=5, wait_s=0))
    futures = [held(batcher, gate)]
    futures += [batcher.submit(request(name, rows), LONG) for name, rows in (("a", 2), ("b", 3), ("c", 1), ("d", 9))]
    gate.open.set()
    assert [future.result(LONG).exposure_id for future in futures] == ["first", "a", "b", "c", "d"]
    assert gate.batches == [["first"], ["a", "b"], ["c"], ["d"]]


def test_an_idle_server_scores_a_request_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Batcher(lambda asked: [answer(each) for each in asked], BatchSettings(wait_s=LONG))
    waits: list[float | None] = []
    monkeypatch.setattr(batcher._changed, "wait", waits.append)
    for _ in range(20):
        batcher.submit(request("a"), LONG).result(LONG)
    assert waits == [], "a lonely request waited for company"


def test_a_batch_waits_for_company_only_after_one_that_had_some() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings(rows=100, wait_s=LONG))
    futures = [held(batcher, gate)]
    futures += [batcher.submit(request(name, 10), LONG) for name in "ab"]
    gate.open.set()
    wait(futures, LONG)
    late = [batcher.submit(request("c", 10), LONG)]
    assert late[0].result(LONG).exposure_id == "c", "the queue was empty, so nothing is waited for"
    assert gate.batches == [["first"], ["a", "b"], ["c"]]


def test_a_full_queue_refuses() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings(queue=2))
    futures = [held(batcher, gate), *(batcher.submit(request(name), LONG) for name in "ab")]
    with pytest.raises(QueueFull, match="2 requests wait already"):
        batcher.submit(request("c"), LONG)
    gate.open.set()
    assert len([future.result(LONG) for future in futures]) == 3
    assert batcher.submit(request("d"), LONG).result(LONG)


def test_a_request_whose_deadline_passed_in_the_queue_is_not_scored() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    first = held(batcher, gate)
    late = batcher.submit(request("late"), 0.01)
    time.sleep(0.03)
    gate.open.set()
    first.result(LONG)
    with pytest.raises(DeadlinePassed, match="deadline passed"):
        late.result(LONG)
    assert gate.batches == [["first"]]


def test_an_answer_that_comes_too_late_is_a_refusal() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    slow = batcher.submit(request("slow"), 0.01)
    time.sleep(0.03)
    gate.open.set()
    with pytest.raises(DeadlinePassed):
        slow.result(LONG)


def test_a_cancelled_request_is_not_scored() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    first = held(batcher, gate)
    gone = batcher.submit(request("gone"), LONG)
    assert gone.cancel()
    gate.open.set()
    first.result(LONG)
    assert batcher.drain(LONG)
    assert gate.batches == [["first"]]


def test_one_refused_request_spoils_no_other() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings(wait_s=0))
    first = held(batcher, gate)
    futures = {name: batcher.submit(request(name), LONG) for name in ("a", "wrong", "b")}
    gate.open.set()
    first.result(LONG)
    assert futures["a"].result(LONG).exposure_id == "a"
    assert futures["b"].result(LONG).exposure_id == "b"
    with pytest.raises(RequestError, match="wrong"):
        futures["wrong"].result(LONG)


def test_a_scorer_that_fails_answers_its_batch_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def score(asked: Sequence[RankRequest]) -> list[Outcome]:
        if asked[0].user == "bad":
            raise ZeroDivisionError("in the scorer")
        return [answer(each) for each in asked]

    batcher = Batcher(score, BatchSettings())
    with pytest.raises(Fault, match="scoring failed"):
        batcher.submit(request("bad"), LONG).result(LONG)
    assert batcher.submit(request("good"), LONG).result(LONG).exposure_id == "good"
    assert batcher.drain(LONG)
    assert "ZeroDivisionError" in caplog.text


def test_a_watcher_that_fails_answers_its_batch_and_scoring_goes_on() -> None:
    def watch(batch: Sequence[Waiting]) -> None:
        if batch[0].request.user == "bad":
            raise ZeroDivisionError("in the watcher")

    batcher = Batcher(lambda asked: [answer(each) for each in asked], BatchSettings(), watch)
    with pytest.raises(Fault, match="scoring failed"):
        batcher.submit(request("bad"), LONG).result(LONG)
    assert batcher.submit(request("good"), LONG).result(LONG).exposure_id == "good"


def test_draining_answers_what_waits_and_takes_nothing_new() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    futures = [held(batcher, gate), batcher.submit(request("a"), LONG)]
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(batcher.drain(LONG)))
    thread.start()
    while True:
        try:
            futures.append(batcher.submit(request("b"), LONG))
            time.sleep(0.001)
        except Draining:
            break
    gate.open.set()
    thread.join(LONG)
    assert drained == [True]
    assert all(future.result(0) for future in futures)


def test_draining_refuses_what_it_cannot_answer_in_time() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    first = held(batcher, gate)
    waiting = batcher.submit(request("a"), LONG)
    assert not batcher.drain(0.02)
    with pytest.raises(Draining):
        waiting.result(LONG)
    gate.open.set()
    assert first.result(LONG).exposure_id == "first", "what was being scored is answered all the same"


def test_an_idle_batcher_drains_at_once() -> None:
    assert Batcher(Gate(), BatchSettings()).drain(LONG)


def test_many_threads_get_their_own_answers() -> None:
    batcher = Batcher(lambda asked: [answer(each) for each in asked], BatchSettings(queue=10_000))
    found: dict[str, str] = {}

    def ask(thread: int) -> None:
        for number in range(100):
            name = f"{thread}-{number}"
            found[name] = batcher.submit(request(name), LONG).result(LONG).exposure_id

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(found) == 800
    assert all(name == exposure for name, exposure in found.items())
    assert batcher.drain(LONG)


def of_loop(batcher: Batcher, name: str, deadline_s: float = LONG) -> asyncio.Future[RankAnswer]:
    return batcher.ask(request(name), deadline_s)


def test_requests_of_an_event_loop_are_scored_on_its_own_thread_in_batches() -> None:
    threads: set[int] = set()
    batches: list[list[str]] = []

    def score(asked: Sequence[RankRequest]) -> list[Outcome]:
        threads.add(threading.get_ident())
        batches.append([each.user for each in asked])
        return [answer(each) for each in asked]

    async def ask(batcher: Batcher) -> list[RankAnswer]:
        return await asyncio.gather(*(of_loop(batcher, name) for name in "abc"))

    answers = asyncio.run(ask(Batcher(score, BatchSettings(rows=2, wait_s=LONG))))
    assert [each.exposure_id for each in answers] == ["a", "b", "c"]
    assert batches == [["a", "b"], ["c"]], "nothing is waited for where nothing else runs"
    assert threads == {threading.get_ident()}


def test_an_event_loop_goes_on_between_two_batches() -> None:
    seen: list[str] = []

    def score(asked: Sequence[RankRequest]) -> list[Outcome]:
        seen.extend(each.user for each in asked)
        return [answer(each) for each in asked]

    async def ask() -> None:
        batcher = Batcher(score, BatchSettings(rows=1, queue=2))
        first = [of_loop(batcher, name) for name in "ab"]
        with pytest.raises(QueueFull):
            of_loop(batcher, "c")
        while "a" not in seen:
            await asyncio.sleep(0)
        assert "b" not in seen
        await asyncio.gather(*first, of_loop(batcher, "d"))

    asyncio.run(ask())
    assert seen == ["a", "b", "d"]


def test_a_scorer_that_fails_on_an_event_loop_answers_its_batch_and_goes_on() -> None:
    def score(asked: Sequence[RankRequest]) -> list[Outcome]:
        if asked[0].user == "bad":
            raise ZeroDivisionError("in the scorer")
        return [answer(each) for each in asked]

    told: list[object] = []

    async def ask() -> list[RankAnswer | BaseException]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context.get("exception")))
        batcher = Batcher(score, BatchSettings(rows=1))
        return await asyncio.gather(*(of_loop(batcher, name) for name in ("bad", "good")), return_exceptions=True)

    bad, good = asyncio.run(ask())
    assert isinstance(bad, Fault)
    assert isinstance(good, RankAnswer)
    assert [type(error) for error in told] == [ZeroDivisionError], "whatever went wrong is told"


def test_a_deadline_ends_the_wait_of_an_event_loop_while_another_thread_scores() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    first = held(batcher, gate)

    async def ask() -> None:
        with pytest.raises(DeadlinePassed, match="deadline passed"):
            await of_loop(batcher, "late", 0.01)
        gone = of_loop(batcher, "gone")
        gone.cancel()

    asyncio.run(ask())
    assert not first.done(), "the wait ended while the batch before was still being scored"
    gate.open.set()
    assert first.result(LONG).exposure_id == "first"
    assert batcher.drain(LONG)
    assert gate.batches == [["first"]]


def test_an_event_loop_hears_of_the_answer_that_another_thread_scored() -> None:
    gate = Gate()
    batcher = Batcher(gate, BatchSettings())
    first = held(batcher, gate)

    async def ask() -> RankAnswer:
        waiting = of_loop(batcher, "a")
        gate.open.set()
        return await waiting

    assert asyncio.run(ask()).exposure_id == "a"
    assert first.result(LONG)


def test_a_drain_on_the_event_loop_answers_what_waits() -> None:
    async def drain() -> tuple[bool, list[RankAnswer]]:
        batcher = Batcher(lambda asked: [answer(each) for each in asked], BatchSettings(rows=1))
        waiting = [of_loop(batcher, name) for name in "ab"]
        done = batcher.drain(LONG)
        with pytest.raises(Draining):
            of_loop(batcher, "c")
        return done, await asyncio.gather(*waiting)

    done, answers = asyncio.run(drain())
    assert done
    assert [each.exposure_id for each in answers] == ["a", "b"]


def test_a_loop_that_closed_with_requests_waiting_leaves_the_batcher_alive() -> None:
    batcher = Batcher(lambda asked: [answer(each) for each in asked], BatchSettings())

    async def leave() -> None:
        of_loop(batcher, "left")

    asyncio.run(leave())
    assert batcher.submit(request("next"), LONG).result(LONG).exposure_id == "next"
    assert batcher.drain(LONG)
