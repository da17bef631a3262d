"""One thread that writes: requests that wait for the database are joined into one transaction (group commit)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from model.errors import Fault
from serving.evidence.engine import AwayError, writing
from serving.evidence.event import Answer, Event
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.telemetry import Telemetry


class QueueFullError(Fault):
    """More events wait than may; the sender should come again."""


@dataclass(frozen=True)
class _Job:
    events: Sequence[Event]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[list[Answer]]


class Writer:
    """Takes batches from many requests; each is answered when its transaction is on disk."""

    def __init__(self, engine: Engine, limits: Limits, telemetry: Telemetry) -> None:
        self._engine, self._limits, self._telemetry = engine, limits, telemetry
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="evidence-writer")
        self._thread.start()

    async def take(self, events: Sequence[Event]) -> list[Answer]:
        """Answers in the order of the events, after the commit. Raises QueueFullError, and Fault for the database."""
        if not events:
            return []
        loop = asyncio.get_running_loop()
        job = _Job(events, loop, loop.create_future())
        with self._changed:
            if self._stopping:
                raise QueueFullError("the server goes away")
            if self._jobs and self._waiting + len(events) > self._limits.queue_events:
                raise QueueFullError(f"{self._waiting} events wait already, at most {self._limits.queue_events} may")
            self._jobs.append(job)
            self._waiting += len(events)
            self._telemetry.queue.set(self._waiting)
            self._changed.notify()
        return await job.done

    def stop(self) -> None:
        """Writes what waits, then ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._next():
            self._write(jobs)

    def _next(self) -> list[_Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._stopping)
            jobs: list[_Job] = []
            events = 0
            while self._jobs and (not jobs or events + len(self._jobs[0].events) <= self._limits.transaction_events):
                job = self._jobs.popleft()
                jobs.append(job)
                events += len(job.events)
            self._waiting -= events
            self._telemetry.queue.set(self._waiting)
            return jobs

    def _write(self, jobs: Sequence[_Job]) -> None:
        started = time.perf_counter()
        events = [event for job in jobs for event in job.events]
        try:
            with writing(self._engine) as connection:
                answers = take(connection, events, self._limits)
        except Exception as error:  # noqa: BLE001  handed to the requests that wait for it, which raise it
            if len(jobs) > 1 and not isinstance(error, AwayError):  # one request's trouble is not the others'
                for job in jobs:
                    self._write([job])
                return
            for job in jobs:  # the database is away for all of them, and each would wait for it again
                job.loop.call_soon_threadsafe(_fail, job.done, error)
            return
        self._telemetry.wrote(len(events), time.perf_counter() - started)
        place = 0
        for job in jobs:
            job.loop.call_soon_threadsafe(_succeed, job.done, answers[place : place + len(job.events)])
            place += len(job.events)


def _succeed(done: asyncio.Future[list[Answer]], answers: list[Answer]) -> None:
    if not done.done():  # the client may have gone away
        done.set_result(answers)


def _fail(done: asyncio.Future[list[Answer]], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
