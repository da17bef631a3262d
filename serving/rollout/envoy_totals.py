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


class EnvoyTotals:
    """One arm's counters, added up over Envoys and their restarts since the first look (as Prometheus' increase)."""

    def __init__(self) -> None:
        self._last: dict[str, Counters] | None = None
        self._total = Counters(0.0)

    def add(self, told: Mapping[str, Counters], at: float) -> Counters:
        """told: by the Envoy's address. Everything at the first look is of before; who comes later began with 0."""
        before = dict(told) if self._last is None else self._last
        for address, latest in told.items():
            known = before.get(address, Counters(at))
            more = latest if latest.completed < known.completed else latest.since(known)
            self._total = _sum(self._total, more)
        self._total = Counters(at, self._total.completed, self._total.failed, self._total.buckets)
        self._last = {**before, **told}
        return self._total


def _sum(one: Counters, other: Counters) -> Counters:
    limits = one.buckets.keys() | other.buckets.keys()
    buckets = {limit: one.buckets.get(limit, 0.0) + other.buckets.get(limit, 0.0) for limit in limits}
    return Counters(other.at, one.completed + other.completed, one.failed + other.failed, buckets)
