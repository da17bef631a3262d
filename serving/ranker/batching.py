"""Requests that wait together are scored together; one that finds the scorer idle is scored at once.

While a batch is scored, requests gather in a bounded queue; the next batch takes as many of them, oldest first, as its
rows allow. A batch waits for company only while the one before it had some, and never longer than `wait_s`, so an idle
server adds nothing to a request's latency.

Who scores: the event loop of the caller, batch by batch, where `submit` is given one. It reads and writes between two
batches, so queue, deadlines and refusals are as ever, and a request changes no threads. Else a thread of the batcher's
own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from model.errors import Fault
from serving.ranker.refusal import DeadlinePassed, Draining, QueueFull, Refusal
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import BatchSettings

log = logging.getLogger(__name__)

Outcome = RankAnswer | Refusal
Score = Callable[[Sequence[RankRequest]], Sequence[Outcome]]


@dataclass(frozen=True)
class Waiting:
    """One request in the queue. Times are of time.monotonic()."""

    request: RankRequest
    deadline: float
    since: float = field(default_factory=time.monotonic)
    answer: Future[RankAnswer] = field(default_factory=Future)


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

    def submit(
        self, request: RankRequest, deadline_s: float | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> Future[RankAnswer]:
        """Queues a request. The future ends in the answer or a Refusal. Raises QueueFull or Draining at once.

        loop: the running one of this thread, which is to score where nobody does yet.
        """
        seconds = self._settings.deadline_s if deadline_s is None else deadline_s
        waiting = Waiting(request, time.monotonic() + seconds)
        with self._changed:
            if self._draining:
                raise Draining("the server is shutting down; ask another one")
            if len(self._queue) >= self._settings.queue:
                raise QueueFull(f"{len(self._queue)} requests wait already; try again in a moment")
            self._queue.append(waiting)
            if self._is_running():
                self._changed.notify()
            else:
                self._start(loop)
        return waiting.answer

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
            _refuse(waiting, Draining("the server was shut down before the request's turn came"))
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
                    waiting.answer.set_exception(Fault("scoring failed; the server's log says why"))
                with self._changed:
                    self._start(self._loop)
        now = time.monotonic()
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                waiting.answer.set_exception(outcome)
            elif now > waiting.deadline:
                waiting.answer.set_exception(_too_late(waiting, now))
            else:
                waiting.answer.set_result(outcome)

    def _take(self) -> list[Waiting]:
        """The next batch; empty when there is nothing left to do."""
        with self._changed:
            self._wait_for_company()
            batch: list[Waiting] = []
            rows = 0
            while self._queue and (not batch or rows + len(self._queue[0].request.items) <= self._settings.rows):
                waiting = self._queue.popleft()
                if time.monotonic() > waiting.deadline:
                    _refuse(waiting, _too_late(waiting, time.monotonic()))
                elif waiting.answer.set_running_or_notify_cancel():
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


def _refuse(waiting: Waiting, refusal: Refusal) -> None:
    if waiting.answer.set_running_or_notify_cancel():
        waiting.answer.set_exception(refusal)


def _too_late(waiting: Waiting, now: float) -> DeadlinePassed:
    return DeadlinePassed(f"the deadline passed {now - waiting.since:.3f} s after the request came in")


def _tell(run: Future[None]) -> None:
    if not run.cancelled() and (error := run.exception()) is not None:
        log.error("a batch could not be scored", exc_info=error)
