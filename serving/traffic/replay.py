"""The open loop: sends each visit when it is due, whatever became of the others; what is answered gets feedback."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from model.errors import Fault
from serving.traffic.gateway_client import Answer, GatewayClient
from serving.traffic.outcome_poster import Event, OutcomePoster
from serving.traffic.plant import Plant
from serving.traffic.tally import Tally
from serving.traffic.visits import Visit, Visits

SIMULATED = "simulated"
"""Event ids begin with it: whoever reads the raw events sees that no person stands behind them."""
_TICK_S = 0.25


@dataclass(frozen=True)
class ReplayPlan:
    """visits: who arrives. arrivals: seconds after the start, ascending. duration_s: None: as long as there are any."""

    visits: Visits
    arrivals: Iterator[float]
    plant: Plant
    experiment: str | None
    """Whose outcomes are posted; None: nobody's."""
    duration_s: float | None
    requests: int | None = None
    """Most that are sent."""
    most_open: int = 10_000
    """Requests without an answer at which arrivals are shed, and counted as such."""
    drain_s: float = 10.0
    """How long open requests may take at the end."""
    flush_s: float = 60.0
    """How long the evidence may take at the end."""


class Replay:
    """One run over one gateway."""

    def __init__(self, plan: ReplayPlan, client: GatewayClient, poster: OutcomePoster | None) -> None:
        self.plan = plan
        self.client = client
        self.poster = poster
        self.tally = Tally(plan.visits.sessions.tasks)
        self.elapsed_s = 0.0
        self._stopped = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    @property
    def open(self) -> int:
        """Requests without an answer."""
        return len(self._open)

    @property
    def stopped(self) -> bool:
        """Whether it was ended before its arrivals were."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """No more arrivals; what was answered still becomes evidence."""
        self._stopped.set()

    async def require_ready(self) -> None:
        """Raises Fault where the gateway or the evidence service is not there."""
        await self.client.require_ready()
        if self.poster is not None:
            await self.poster.require_ready()

    async def run(self, progress: Callable[[Replay], None]) -> Tally:
        """Until the arrivals end or `stop` is called. Raises Fault where evidence could not be delivered."""
        sender = None
        if self.poster is not None:
            sender = asyncio.create_task(self.poster.run())
            sender.add_done_callback(self._sender_ended)
        ticker = asyncio.create_task(self._tick(progress))
        try:
            await self._arrive()
            await self._drain()
        finally:
            await self._flush(sender)
            ticker.cancel()
            progress(self)
        if self._failure is not None:
            raise self._failure
        return self.tally

    async def _arrive(self) -> None:
        start = time.monotonic()
        for number, at in enumerate(islice(self.plan.arrivals, self.plan.requests)):
            if self.plan.duration_s is not None and at > self.plan.duration_s:
                break
            visit = self.plan.visits.visit(number)  # made before it is due
            due = start + at
            await self._until(due)
            if self._stopped.is_set():
                break
            if len(self._open) >= self.plan.most_open:
                self.tally.shed += 1
                continue
            self.tally.sent += 1
            self.tally.behind_s.append(time.monotonic() - due)
            request = asyncio.create_task(self._serve(visit, due))
            self._open.add(request)
            request.add_done_callback(self._served)
        if self.plan.duration_s is not None and self.plan.requests is None:
            await self._until(start + self.plan.duration_s)
        self.elapsed_s = time.monotonic() - start

    async def _until(self, moment: float) -> None:
        """Sleeps; a moment that is past only lets the other tasks go on."""
        left = moment - time.monotonic()
        if left <= 0:
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(self._stopped.wait(), left)
        except TimeoutError:
            return

    async def _serve(self, visit: Visit, due: float) -> None:
        answer = await self.client.rank(visit, str(uuid.uuid4()))
        arm = self.tally.of(answer.arm)
        arm.answers[answer.outcome] += 1
        if answer.outcome == "ok":
            arm.latency_s.append(time.monotonic() - due)
            self._feedback(visit, answer)

    def _feedback(self, visit: Visit, answer: Answer) -> None:
        """What the simulated user does with the list."""
        if answer.arm is None or answer.order is None or answer.exposure_id is None:
            return
        model, plant = self.plan.visits.model, self.plan.plant
        order = plant.shown(answer.order)
        attraction = plant.attraction(visit.attraction_NT, answer.arm, model)
        earned = model.draw(attraction, order, self.plan.visits.feedback_rng(visit.number))
        expected, shuffled = model.expected(attraction, order), model.shuffled(visit.attraction_NT)
        self.tally.of(answer.arm).earn(visit.unit, earned, expected, shuffled)
        if self.poster is None or self.plan.experiment is None:
            return
        events = [
            outcome_event(
                experiment=self.plan.experiment,
                exposure_id=answer.exposure_id,
                unit=visit.unit,
                task=task,
                count=int(count),
            )
            for task, count in zip(self.tally.tasks, earned, strict=True)
            if count
        ]
        self.poster.put(events)
        self.tally.put += len(events)

    def _served(self, request: asyncio.Task[None]) -> None:
        self._open.discard(request)
        if not request.cancelled() and (error := request.exception()) is not None:
            self._fail(error)

    def _sender_ended(self, sender: asyncio.Task[None]) -> None:
        if not sender.cancelled() and (error := sender.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Kept until the end of the run, which it brings."""
        if self._failure is None and isinstance(error, Exception):
            self._failure = error
        self.stop()

    async def _drain(self) -> None:
        """Lets open requests end; those that do not count as timed out."""
        if self._open:
            await asyncio.wait(self._open, timeout=self.plan.drain_s)
        for request in list(self._open):
            request.cancel()
            self.tally.nobody.answers["timeout"] += 1

    async def _flush(self, sender: asyncio.Task[None] | None) -> None:
        if sender is None or self.poster is None:
            return
        self.poster.finish()
        _, late = await asyncio.wait({sender}, timeout=self.plan.flush_s)
        if late:
            sender.cancel()
            self._fail(
                Fault(
                    f"evidence {self.poster.address}: {self.poster.waiting:,} outcomes are not acknowledged after "
                    f"{self.plan.flush_s:g} s: {self.poster.trouble}"
                )
            )

    async def _tick(self, progress: Callable[[Replay], None]) -> None:
        while True:
            progress(self)
            await asyncio.sleep(_TICK_S)


def outcome_event(*, experiment: str, exposure_id: str, unit: str, task: str, count: int) -> Event:
    """How many of a list's items earned a task, as the evidence service takes it.

    The id follows from the exposure and the task: sending it again, in this run or another, counts nothing twice.
    """
    return {
        "experiment": experiment,
        "event_id": f"{SIMULATED}:{exposure_id}:{task}",
        "metric": task,
        "value": count,
        "time": time.time(),
        "unit": unit,
        "exposure_id": exposure_id,
    }
