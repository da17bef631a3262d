"""Prometheus metrics of the ranker, by arm and digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.ranker.request import RankAnswer

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS_BUCKETS = (1, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000)
REQUESTS_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Side:
    """What is counted for every request, of one arm and digest: looking a label up costs more than counting."""

    requests: Counter
    latency: Histogram
    queue_seconds: Histogram
    candidates: Histogram
    batch_requests: Histogram
    item_hits: Counter
    item_misses: Counter
    cold_users: Counter

    def answered(self, answer: RankAnswer, candidates: int, seconds: float) -> None:
        """Counts one answer."""
        self.requests.inc()
        self.latency.observe(seconds)
        self.candidates.observe(candidates)
        self.item_hits.inc(candidates - answer.cold_items)
        self.item_misses.inc(answer.cold_items)
        self.cold_users.inc(int(answer.cold_user))

    def taken(self, waited: Sequence[float]) -> None:
        """Counts one batch; waited: seconds of each request in the queue."""
        self.batch_requests.observe(len(waited))
        for seconds in waited:
            self.queue_seconds.observe(seconds)


class RankerMetrics:
    """One set of collectors; registry: a registry of its own where none is given, so that tests do not meet."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        histogram = partial(Histogram, labelnames=("arm", "digest"), registry=self.registry)
        counter = partial(Counter, labelnames=("arm", "digest"), registry=self.registry)
        self.latency = histogram(
            "mgoe_rank_seconds", "Seconds from taking a request to its answer", buckets=LATENCY_BUCKETS
        )
        self.queue_seconds = histogram(
            "mgoe_rank_queue_seconds", "Seconds that a request waited for its batch", buckets=LATENCY_BUCKETS
        )
        self.candidates = histogram("mgoe_rank_candidates", "Candidates of a request", buckets=ROWS_BUCKETS)
        self.batch_requests = histogram(
            "mgoe_rank_batch_requests", "Requests scored in one call", buckets=REQUESTS_BUCKETS
        )
        self.requests = counter("mgoe_rank_requests", "Requests answered")
        self.item_hits = counter("mgoe_rank_item_cache_hits", "Candidates whose half was in the cache")
        self.item_misses = counter("mgoe_rank_item_cache_misses", "Candidates unknown to the bundle")
        self.cold_users = counter("mgoe_rank_cold_users", "Requests of users unknown to the bundle")
        self.refusals = Counter(
            "mgoe_rank_refusals", "Requests refused, by reason", ("arm", "reason"), registry=self.registry
        )
        self.swaps = Counter("mgoe_rank_swaps", "Bundles swapped in, or refused", ("outcome",), registry=self.registry)
        self.waiting = Gauge("mgoe_rank_waiting", "Requests in the queue", registry=self.registry)
        self.serving = Gauge(
            "mgoe_rank_bundle", "1 for the bundle that serves now", ("arm", "digest"), registry=self.registry
        )

        self._sides: dict[tuple[str, str], Side] = {}

    def side(self, arm: str | None, digest: str) -> Side:
        """The collectors of one arm and digest."""
        key = (arm or "", digest[:12])
        side = self._sides.get(key)
        if side is None:
            side = self._sides[key] = Side(
                requests=self.requests.labels(*key),
                latency=self.latency.labels(*key),
                queue_seconds=self.queue_seconds.labels(*key),
                candidates=self.candidates.labels(*key),
                batch_requests=self.batch_requests.labels(*key),
                item_hits=self.item_hits.labels(*key),
                item_misses=self.item_misses.labels(*key),
                cold_users=self.cold_users.labels(*key),
            )
        return side
