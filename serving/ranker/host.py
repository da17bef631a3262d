"""Holds the ranker that serves now, and replaces it without dropping a request."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from model.errors import Fault
from serving.ranker.batching import Batcher, Outcome, Waiting
from serving.ranker.metrics import RankerMetrics
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import Draining, NotReady, QueueFull, Refusal, RequestError
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)


class RankerHost:
    """Queue, batches and the current ranker. Safe to use from an event loop (`rank`) and from threads (`submit`)."""

    def __init__(self, settings: RankerSettings | None = None, metrics: RankerMetrics | None = None) -> None:
        self.settings = settings or RankerSettings()
        self.metrics = metrics or RankerMetrics()
        self._ranker: Ranker | None = None
        self._why_not_ready: str | None = "no bundle is loaded yet"
        self._swapping = threading.Lock()
        self._draining = False
        self._batcher = Batcher(self._score, self.settings.batch, self._taken)

    @property
    def ready(self) -> bool:
        """Whether a bundle is loaded and requests are taken."""
        return self._ranker is not None and not self._draining

    @property
    def why_not_ready(self) -> str | None:
        """Why requests are not taken, in one sentence; None when ready."""
        if self._draining:
            return "the server is shutting down"
        return None if self._ranker is not None else self._why_not_ready

    @property
    def ranker(self) -> Ranker:
        """The ranker that serves now. Raises Draining where there is none."""
        ranker = self._ranker
        if ranker is None:
            raise Draining(f"not ready: {self._why_not_ready}")
        return ranker

    def swap(self, source: str | Path) -> str:
        """Loads the bundle beside the current one, then replaces it; returns its digest. Blocks while loading.

        Batches that are being scored end on the old one. Raises NotReady and keeps the current one where the new bundle
        fails.
        """
        with self._swapping:
            try:
                fresh = Ranker.load(source, self.settings)
            except NotReady as error:
                self._why_not_ready = str(error)
                self.metrics.swaps.labels("refused").inc()
                log.warning("bundle %s is not taken: %s", source, error)
                raise
            old, self._ranker = self._ranker, fresh
            if old is not None:
                self.metrics.serving.labels(*self._side(old.digest)).set(0)
            self.metrics.serving.labels(*self._side(fresh.digest)).set(1)
            self.metrics.swaps.labels("done").inc()
        return fresh.digest

    def submit(self, request: RankRequest, deadline_s: float | None = None) -> Future[RankAnswer]:
        """Queues a request. The future ends in an answer or a Refusal. Raises QueueFull or Draining at once."""
        came = time.perf_counter()
        try:
            self.ranker  # noqa: B018  raises where there is none
            answer = self._batcher.submit(request, deadline_s)
        except (QueueFull, Draining) as refusal:
            self._count_refusal(refusal)
            raise
        answer.add_done_callback(partial(self._count, came, len(request.items)))
        return answer

    async def rank(self, request: RankRequest, deadline_s: float | None = None) -> RankAnswer:
        """`submit` for event loops, on which it is scored; never later than the deadline."""
        came = time.perf_counter()
        try:
            self.ranker  # noqa: B018  raises where there is none
            answer = await self._batcher.ask(request, deadline_s)
        except Refusal as refusal:
            self._count_refusal(refusal)
            raise
        except Fault:
            self.metrics.refusals.labels(self.settings.arm or "", "fault").inc()
            raise
        except asyncio.CancelledError:
            self.metrics.refusals.labels(self.settings.arm or "", "cancelled").inc()
            raise
        self._answered(answer, len(request.items), came)
        return answer

    def drain(self, timeout_s: float = 10.0) -> bool:
        """Takes no new requests and answers the waiting ones; True where all were answered in time."""
        self._draining = True
        return self._batcher.drain(timeout_s)

    def _score(self, requests: Sequence[RankRequest]) -> list[Outcome]:
        """One ranker for the whole batch; a request that it cannot answer spoils no other."""
        ranker = self.ranker
        outcomes: list[Outcome | None] = []
        for request in requests:
            try:
                ranker.check(request)
                outcomes.append(None)
            except RequestError as refusal:
                outcomes.append(refusal)
        good = [request for request, outcome in zip(requests, outcomes, strict=True) if outcome is None]
        answers = iter(ranker.rank_many(good)) if good else iter(())
        return [next(answers) if outcome is None else outcome for outcome in outcomes]

    def _taken(self, batch: Sequence[Waiting]) -> None:
        now = time.monotonic()
        side = self.metrics.side(self.settings.arm, self.ranker.digest)
        side.taken([now - waiting.since for waiting in batch])
        self.metrics.waiting.set(self._batcher.waiting)

    def _count(self, came: float, candidates: int, future: Future[RankAnswer]) -> None:
        if future.cancelled():
            return  # counted by who cancelled it
        error = future.exception()
        if isinstance(error, Refusal):
            self._count_refusal(error)
            return
        if error is not None:
            self.metrics.refusals.labels(self.settings.arm or "", "fault").inc()
            return
        self._answered(future.result(), candidates, came)

    def _answered(self, answer: RankAnswer, candidates: int, came: float) -> None:
        self.metrics.side(answer.arm, answer.digest).answered(answer, candidates, time.perf_counter() - came)

    def _count_refusal(self, refusal: Refusal) -> None:
        self.metrics.refusals.labels(self.settings.arm or "", refusal.reason).inc()
        refusal.counted = True

    def _side(self, digest: str) -> tuple[str, str]:
        return self.settings.arm or "", digest[:12]
