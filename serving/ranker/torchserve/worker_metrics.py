"""The ranker's metrics through TorchServe's metrics API: workers report them, the frontend sums and shows them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from serving.ranker.request import RankAnswer

_SIDE = ("arm", "digest")
SECONDS = "mgoe_rank_seconds"
REFUSALS = "mgoe_rank_refusals"
COUNTERS = {
    "mgoe_rank_requests": "Requests answered",
    "mgoe_rank_candidates": "Candidates scored",
    "mgoe_rank_item_cache_hits": "Candidates whose half was in the cache",
    "mgoe_rank_item_cache_misses": "Candidates unknown to the bundle",
    "mgoe_rank_cold_users": "Requests of users unknown to the bundle",
}


def model_metrics() -> dict[str, list[dict[str, object]]]:
    """The section `model_metrics` of TorchServe's metrics file. A histogram has the Java client's own buckets."""
    # A list for each: one that YAML writes as an alias is one list to the frontend, which appends to it every time.
    counters: list[dict[str, object]] = [{"name": name, "unit": "Count", "dimensions": [*_SIDE]} for name in COUNTERS]
    return {
        "histogram": [{"name": SECONDS, "unit": "Seconds", "dimensions": [*_SIDE]}],
        "counter": [*counters, {"name": REFUSALS, "unit": "Count", "dimensions": ["arm", "reason"]}],
    }


class WorkerMetrics:
    """Reports for one bundle. metrics: TorchServe's cache, made from a file that holds `model_metrics`."""

    def __init__(self, metrics: Any, arm: str, digest: str) -> None:
        kinds = import_module("ts.metrics.metric_type_enum").MetricTypes
        self._seconds = metrics.get_metric(SECONDS, kinds.HISTOGRAM)
        self._refusals = metrics.get_metric(REFUSALS, kinds.COUNTER)
        self._counters = {name: metrics.get_metric(name, kinds.COUNTER) for name in COUNTERS}
        self._arm = arm or "none"
        self._side = [self._arm, digest]

    def answered(self, answers: Sequence[RankAnswer], seconds: float) -> None:
        """Of one batch. seconds: from its arrival at the worker to its answers."""
        for _ in answers:
            self._seconds.add_or_update(seconds, self._side)
        candidates = sum(len(answer.order) for answer in answers)
        misses = sum(answer.cold_items for answer in answers)
        counts = (len(answers), candidates, candidates - misses, misses, sum(answer.cold_user for answer in answers))
        for counter, count in zip(self._counters.values(), counts, strict=True):
            if count:
                counter.add_or_update(count, self._side)

    def refused(self, reason: str) -> None:
        self._refusals.add_or_update(1, [self._arm, reason])
