"""Latency per arm: from the statistics of Envoy, or from Prometheus."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from model.errors import Fault
from serving.gateway.admin import NotRunningError
from serving.gateway.assignment import Arm
from serving.rollout.envoy_guardrails import counters_of, quantile
from serving.rollout.envoy_totals import Counters, EnvoyTotals

log = logging.getLogger(__name__)

ARMS: tuple[Arm, ...] = ("baseline", "candidate")
WINDOW_S = 60.0
KEPT_S = 3600.0
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ArmLatency:
    """An arm over the last minute. Milliseconds; None: no request, or not known."""

    p50: float | None = None
    p99: float | None = None
    requests: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Latency:
    """Both arms at one moment."""

    at: float
    arms: Mapping[Arm, ArmLatency]
    problem: str | None = None


class LatencySource(Protocol):
    """Where latency is measured."""

    def read(self, at: float) -> Latency:
        """Both arms, over the last minute. Raises Fault."""


class EnvoyLatency:
    """The histograms of a gateway's Envoys, less what they were a minute ago."""

    def __init__(self, statistics: Callable[[], Mapping[str, str]]) -> None:
        """statistics: Prometheus texts by Envoy (Envoys.statistics)."""
        self._statistics = statistics
        self._totals: Mapping[Arm, EnvoyTotals] = {arm: EnvoyTotals() for arm in ARMS}
        self._seen: deque[Mapping[Arm, Counters]] = deque()

    def read(self, at: float) -> Latency:
        """Of what this process has seen itself, if that is less than a minute."""
        try:
            told = self._statistics()
        except NotRunningError:
            for totals in self._totals.values():
                totals.add({}, at)
            raise
        latest = {
            arm: self._totals[arm].add({each: counters_of(text, at, arm) for each, text in told.items()}, at)
            for arm in ARMS
        }
        self._seen.append(latest)
        while len(self._seen) > 1 and at - self._seen[1]["baseline"].at >= WINDOW_S:
            self._seen.popleft()
        first = self._seen[0]
        return Latency(at, {arm: _between(first[arm], latest[arm]) for arm in ARMS})


def _between(first: Counters, last: Counters) -> ArmLatency:
    since = last.since(first)
    return ArmLatency(
        p50=quantile(since.buckets, 0.5),
        p99=quantile(since.buckets, 0.99),
        requests=round(since.completed),
        failed=round(since.failed),
    )


class PrometheusLatency:
    """The gateways' histograms in Prometheus."""

    def __init__(self, client: httpx.Client, selector: str = "") -> None:
        """client: with Prometheus' address as its base_url. selector: further label matchers of the gateway."""
        self._client = client
        self._selector = selector

    def read(self, at: float) -> Latency:
        """Over the last minute."""
        return Latency(at, {arm: self._arm(arm) for arm in ARMS})

    def _arm(self, arm: Arm) -> ArmLatency:
        labels = ",".join(filter(None, [f'envoy_cluster_name=~"{arm}|{arm}-grpc"', self._selector]))
        bucket = f"sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket{{{labels}}}[1m]))"
        count = f"sum(increase(envoy_cluster_upstream_rq_completed{{{labels}}}[1m]))"
        failures = f'sum(increase(envoy_cluster_upstream_rq_xx{{{labels},envoy_response_code_class="5"}}[1m]))'
        return ArmLatency(
            p50=self._ask(f"histogram_quantile(0.5, {bucket})"),
            p99=self._ask(f"histogram_quantile(0.99, {bucket})"),
            requests=round(self._ask(count) or 0.0),
            failed=round(self._ask(failures) or 0.0),
        )

    def _ask(self, query: str) -> float | None:
        try:
            answer = self._client.get("/api/v1/query", params={"query": query}, timeout=TIMEOUT_S)
            answer.raise_for_status()
            result: Any = answer.json()["data"]["result"]
            value = float(result[0]["value"][1]) if result else None
        except httpx.HTTPError as error:
            raise Fault(f"Prometheus does not answer: {type(error).__name__}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Fault(f"Prometheus answers what is no query's result: {error!r}") from error
        return value if value is not None and value == value else None  # noqa: PLR0124  # NaN: no request


class Latencies:
    """What was measured in the last hour."""

    def __init__(self, source: LatencySource, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._now = now
        self._lock = threading.Lock()
        self._seen: deque[Latency] = deque()

    def look(self) -> None:
        """Measures once; what goes wrong is kept as the reason why nothing was measured."""
        at = self._now()
        try:
            found = self._source.read(at)
        except Fault as error:
            found = Latency(at, {arm: ArmLatency() for arm in ARMS}, str(error))
        with self._lock:
            self._seen.append(found)
            while at - self._seen[0].at > KEPT_S:
                self._seen.popleft()

    def latest(self) -> Latency | None:
        """None: nobody has looked yet."""
        with self._lock:
            return self._seen[-1] if self._seen else None

    def course(self) -> tuple[Latency, ...]:
        """The last hour, oldest first."""
        with self._lock:
            return tuple(self._seen)
