"""Requests that wait together are scored together; one that finds the scorer idle is scored at once.

While a batch is scored, requests gather in a bounded queue; the next batch takes as many of them, oldest first, as its
rows allow. A batch waits for company only while the one before it had some, and never longer than `wait_s`, so an idle
server adds nothing to a request's latency.

Who scores: what `ask` queues, the event loop that asked, batch by batch. It reads and writes between two batches, so
queue, deadlines and refusals are as ever, and a request changes no threads. What `submit` queues, a thread of the
batcher's own. Whoever scores takes what is there, whoever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from model.errors import Fault
from serving.ranker.refusal import DeadlinePassed, Draining, QueueFull, Refusal
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import BatchSettings

log = logging.getLogger(__name__)

Outcome = RankAnswer | Refusal
Score = Callable[[Sequence[RankRequest]], Sequence[Outcome]]


Answer = Future[RankAnswer] | asyncio.Future[RankAnswer]


@dataclass(slots=True)
class Waiting:
    """One request in the queue. Times are of time.monotonic()."""

    request: RankRequest
    since: float
    deadline: float
    answer: Answer
    timer: asyncio.TimerHandle | None = None
    """Ends the wait at the deadline, where the queue alone might not."""


class Batcher:
    """score: outcomes of the requests of one batch, in order. taken: called with every batch when its turn comes."""

    def __init__(
        self, score: Score, settings: BatchSettings, taken: Callable[[Sequence[Waiting]], None] | None = None
    ) -> None:
        self._score = score
        self._settings = settings
        self._taken = taken
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._scorer = ThreadPoolExecutor(1, thread_name_prefix="ranker")
        self._running = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """What scores now; None: the batcher's own thread."""
        self._draining = False
        self._had_company = False

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def submit(self, request: RankRequest, deadline_s: float | None = None) -> Future[RankAnswer]:
        """Queues a request. The future ends in the answer or a Refusal. Raises QueueFull or Draining at once."""
        answer: Future[RankAnswer] = Future()
        self._put(self._waiting(request, deadline_s, answer), None)
        return answer

    def ask(self, request: RankRequest, deadline_s: float | None = None) -> asyncio.Future[RankAnswer]:
        """`submit` for the running event loop, which scores where nobody does yet.

        A deadline that passes ends the wait, wherever the request is.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[RankAnswer] = loop.create_future()
        waiting = self._waiting(request, deadline_s, answer)
        if not self._put(
            waiting, loop
        ):  # else its turn is the loop's next, and its deadline looked at before and after
            waiting.timer = loop.call_later(waiting.deadline - waiting.since, _end, waiting)
        return answer

    def _waiting(self, request: RankRequest, deadline_s: float | None, answer: Answer) -> Waiting:
        now = time.monotonic()
        return Waiting(request, now, now + (self._settings.deadline_s if deadline_s is None else deadline_s), answer)

    def _put(self, waiting: Waiting, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Queues it; whether that set the scoring going."""
        with self._changed:
            if self._draining:
                raise Draining("the server is shutting down; ask another one")
            if len(self._queue) >= self._settings.queue:
                raise QueueFull(f"{len(self._queue)} requests wait already; try again in a moment")
            self._queue.append(waiting)
            if self._is_running():
                self._changed.notify()
                return False
            self._start(loop)
            return True

    def drain(self, timeout_s: float) -> bool:
        """Takes no new requests and answers the waiting ones; the rest are refused. True where none was."""
        end = time.monotonic() + timeout_s
        with self._changed:
            self._draining = True
            self._changed.notify_all()
        if self._loop is not None and self._loop is _loop_of_this_thread():
            self._run(end)  # this very thread scores: nothing else would
        with self._changed:
            while self._is_running() and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())
            left = list(self._queue)
            self._queue.clear()
        for waiting in left:
            if _is_wanted(waiting.answer):
                _settle(waiting, Draining("the server was shut down before the request's turn came"))
        self._scorer.shutdown(wait=False, cancel_futures=True)
        return not left and not self._is_running()

    def _is_running(self) -> bool:
        """Whether somebody scores, and will come back for the queue: a closed loop does not."""
        return self._running and not (self._loop is not None and self._loop.is_closed())

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._running, self._loop = True, loop
        if loop is None:
            self._scorer.submit(self._run).add_done_callback(_tell)
        else:
            loop.call_soon(self._step, loop)

    def _run(self, end: float = math.inf) -> None:
        """Scores until the queue is empty, or time.monotonic() is past `end`."""
        while time.monotonic() < end and (batch := self._take()):
            self._answer(batch)

    def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        """Scores one batch and comes back after the loop has read and written."""
        if batch := self._take():
            self._answer(batch)
            loop.call_soon(self._step, loop)

    def _answer(self, batch: list[Waiting]) -> None:
        outcomes: Sequence[Outcome] = ()
        try:
            if self._taken is not None:
                self._taken(batch)
            outcomes = self._score([waiting.request for waiting in batch])
        finally:
            # Whatever went wrong rises and is logged; but nobody waits for an answer that does not come.
            if len(outcomes) != len(batch):
                for waiting in batch:
                    _settle(waiting, Fault("scoring failed; the server's log says why"))
                with self._changed:
                    self._start(self._loop)
        now = time.monotonic()
        for waiting, outcome in zip(batch, outcomes, strict=True):
            late = now > waiting.deadline and not isinstance(outcome, Refusal)
            _settle(waiting, _too_late(waiting, now) if late else outcome)

    def _take(self) -> list[Waiting]:
        """The next batch; empty when there is nothing left to do."""
        with self._changed:
            self._wait_for_company()
            batch: list[Waiting] = []
            rows = 0
            while self._queue and (not batch or rows + len(self._queue[0].request.items) <= self._settings.rows):
                waiting = self._queue.popleft()
                if not _is_wanted(waiting.answer):
                    continue
                if (now := time.monotonic()) > waiting.deadline:
                    _settle(waiting, _too_late(waiting, now))
                else:
                    batch.append(waiting)
                    rows += len(waiting.request.items)
            self._had_company = len(batch) > 1
            if not batch:
                self._running = False
                self._changed.notify_all()
        return batch

    def _wait_for_company(self) -> None:
        if not self._had_company or not self._queue or self._loop is not None:
            return
        end = self._queue[0].since + self._settings.wait_s
        while not self._draining and self._rows_waiting() < self._settings.rows:
            left = end - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return

    def _rows_waiting(self) -> int:
        return sum(len(waiting.request.items) for waiting in self._queue)


def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_wanted(answer: Answer) -> bool:
    """Whether somebody waits for it; from now on a thread's cannot be cancelled."""
    return answer.set_running_or_notify_cancel() if isinstance(answer, Future) else not answer.done()


def _settle(waiting: Waiting, outcome: Outcome | Fault) -> None:
    """Ends a wanted answer, from whatever thread."""
    answer = waiting.answer
    if isinstance(answer, Future) or answer.get_loop() is _loop_of_this_thread():
        _set(waiting, outcome)
        return
    with contextlib.suppress(RuntimeError):  # the loop closed, and nobody waits
        answer.get_loop().call_soon_threadsafe(_set, waiting, outcome)


def _set(waiting: Waiting, outcome: Outcome | Fault) -> None:
    if waiting.timer is not None:
        waiting.timer.cancel()
    if waiting.answer.done():
        return
    if isinstance(outcome, RankAnswer):
        waiting.answer.set_result(outcome)
    else:
        waiting.answer.set_exception(outcome)


def _end(waiting: Waiting) -> None:
    _set(waiting, _too_late(waiting, time.monotonic()))


def _too_late(waiting: Waiting, now: float) -> DeadlinePassed:
    return DeadlinePassed(f"the deadline passed {now - waiting.since:.3f} s after the request came in")


def _tell(run: Future[None]) -> None:
    if not run.cancelled() and (error := run.exception()) is not None:
        log.error("a batch could not be scored", exc_info=error)
