"""Holds the ranker that serves now, and replaces it without dropping a request."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

from serving.ranker.metrics import RankerMetrics
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import RankerSettings


class RankerHost:
    """Queue, batches and the current ranker. Safe to use from an event loop (`rank`) and from threads (`submit`)."""

    def __init__(self, settings: RankerSettings | None = None, metrics: RankerMetrics | None = None) -> None:
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether a bundle is loaded and requests are taken."""
        raise NotImplementedError

    @property
    def why_not_ready(self) -> str | None:
        """The last failure to load, in one sentence; None when ready."""
        raise NotImplementedError

    @property
    def ranker(self) -> Ranker:
        """The ranker that serves now. Raises Draining where there is none."""
        raise NotImplementedError

    def swap(self, source: str | Path) -> str:
        """Loads the bundle beside the current one, then replaces it; returns its digest. Blocks while loading.

        Raises NotReady and keeps the current one where the new bundle fails.
        """
        raise NotImplementedError

    def submit(self, request: RankRequest, deadline_s: float | None = None) -> Future[RankAnswer]:
        """Queues a request. The future ends in an answer or a Refusal. Raises QueueFull or Draining at once."""
        raise NotImplementedError

    async def rank(self, request: RankRequest, deadline_s: float | None = None) -> RankAnswer:
        """`submit` for event loops."""
        raise NotImplementedError

    def drain(self, timeout_s: float = 10.0) -> bool:
        """Takes no new requests and answers the waiting ones; True where all were answered in time."""
        raise NotImplementedError
