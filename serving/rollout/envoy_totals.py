"""What several Envoys have counted together: an Envoy that ends or is started anew takes nothing away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counters:
    """What an arm's clusters had done by one moment."""

    at: float
    completed: float = 0.0
    failed: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)
    """Requests that took at most so many milliseconds."""

    def since(self, before: Counters) -> Counters:
        """What has come on top of an earlier moment."""
        buckets = {limit: count - before.buckets.get(limit, 0.0) for limit, count in self.buckets.items()}
        return Counters(self.at, self.completed - before.completed, self.failed - before.failed, buckets)

    def falls(self, before: Counters) -> bool:
        """Whether something is less than at an earlier moment, as no counter of one process ever is."""
        fewer = any(self.buckets.get(limit, 0.0) < count for limit, count in before.buckets.items())
        return fewer or self.completed < before.completed or self.failed < before.failed


class EnvoyTotals:
    """One arm's counters, added up over Envoys and their restarts since the first look (as Prometheus' increase)."""

    def __init__(self) -> None:
        self._last: dict[str, Counters] | None = None
        self._total = Counters(0.0)

    def add(self, told: Mapping[str, Counters], at: float) -> Counters:
        """told: by the Envoy's address; one that does not run is left out. Everything at the first look is of before;
        who comes later, or comes back, began with 0."""
        before = told if self._last is None else self._last
        for address, latest in told.items():
            known = before.get(address)
            more = latest if known is None or latest.falls(known) else latest.since(known)
            self._total = _sum(self._total, more)
        self._total = Counters(at, self._total.completed, self._total.failed, self._total.buckets)
        self._last = dict(told)
        return self._total


def _sum(one: Counters, other: Counters) -> Counters:
    limits = one.buckets.keys() | other.buckets.keys()
    buckets = {limit: one.buckets.get(limit, 0.0) + other.buckets.get(limit, 0.0) for limit in limits}
    return Counters(other.at, one.completed + other.completed, one.failed + other.failed, buckets)
