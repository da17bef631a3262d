"""Guardrails read from the statistics of Envoy, for a machine without Prometheus.

Counters are remembered for as long as the longest window. A new process has none of them: until its first window has
passed it speaks of what it has seen itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from model.errors import Fault
from serving.gateway.admin import NotRunningError
from serving.gateway.assignment import Arm
from serving.rollout.envoy_totals import Counters, EnvoyTotals
from serving.rollout.evidence_measures import GuardrailSource
from serving.rollout.readings import GuardrailReading
from serving.rollout.spec_measures import Guardrail

LONGEST_S = 3600.0
QUANTILE = 0.99
_PREFIX = "envoy_cluster_upstream_rq_"


def counters_of(text: str, at: float, arm: Arm = "candidate") -> Counters:
    """An arm's counters in Envoy's Prometheus text."""
    clusters = {arm, f"{arm}-grpc"}
    lines = "\n".join(line for line in text.splitlines() if line.startswith((_PREFIX, f"# TYPE {_PREFIX}")))
    completed = failed = 0.0
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(lines + "\n"):
        for sample in family.samples:
            if sample.labels.get("envoy_cluster_name") not in clusters:
                continue
            name = sample.name.removeprefix(_PREFIX)
            if name in {"completed", "completed_total"}:
                completed += sample.value
            elif name in {"xx", "xx_total"} and sample.labels.get("envoy_response_code_class") == "5":
                failed += sample.value
            elif name == "time_bucket":
                limit = float(sample.labels["le"])
                buckets[limit] = buckets.get(limit, 0.0) + sample.value
    return Counters(at, completed, failed, buckets)


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The value below which that share lies, linear inside a bucket, as Prometheus' histogram_quantile; None: empty."""
    limits = sorted(buckets)
    total = buckets[limits[-1]] if limits else 0.0
    if total <= 0:
        return None
    below, before = 0.0, 0.0
    for limit in limits:
        count = buckets[limit]
        if count >= share * total:
            if limit == float("inf") or count == before:
                return below
            return below + (limit - below) * (share * total - before) / (count - before)
        below, before = limit, count
    return below


class EnvoyGuardrails:
    """Asks the Envoys of a gateway at every reading, and compares with what they told a window ago. Who reads while a
    question is under way shares its answer: two answers that overtake each other would look like another Envoy."""

    def __init__(
        self,
        statistics: Callable[[], Mapping[str, str]],
        queries: GuardrailSource | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """statistics: Prometheus texts by Envoy (Envoys.statistics); blocks, raises Fault. queries: for type PromQL."""
        self._statistics = statistics
        self._queries = queries
        self._now = now
        self._totals = EnvoyTotals()
        self._seen: deque[Counters] = deque()
        self._asking: asyncio.Task[Counters] | None = None

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        """One reading for each, in any order."""
        asked = tuple(each for each in guardrails if each.type == "PromQL" and self._queries is not None)
        told = await self._queries.read(asked) if asked and self._queries is not None else ()
        own = tuple(each for each in guardrails if each not in asked)
        return (*told, *await self._own(own)) if own else told

    async def _own(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        try:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            latest = await asyncio.shield(self._asking)
        except Fault as error:
            return tuple(GuardrailReading(each.name, None, None, None, str(error)) for each in guardrails)
        return tuple(self._reading(each, latest) for each in guardrails)

    async def _ask(self) -> Counters:
        """The counters as of the moment before the question, kept for later windows."""
        at = self._now()
        try:
            told = await asyncio.to_thread(self._statistics)
        except NotRunningError:
            self._totals.add({}, at)
            raise
        latest = self._totals.add({address: counters_of(text, at) for address, text in told.items()}, at)
        self._seen.append(latest)
        while latest.at - self._seen[0].at > LONGEST_S:
            self._seen.popleft()
        return latest

    def _reading(self, guardrail: Guardrail, latest: Counters) -> GuardrailReading:
        if guardrail.type == "PromQL":
            return GuardrailReading(guardrail.name, None, None, None, "PromQL needs a Prometheus (--prometheus)")
        before = [each for each in self._seen if latest.at - each.at >= guardrail.window_seconds]
        first = before[-1] if before else self._seen[0]
        since = latest.since(first)
        if guardrail.type == "ErrorRate":
            value = since.failed / since.completed if since.completed > 0 else None
        else:
            value = quantile(since.buckets, QUANTILE)
        return GuardrailReading(guardrail.name, value, round(since.completed), latest.at)
