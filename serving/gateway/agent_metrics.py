"""What Prometheus reads of a gateway pod: Envoy's own statistics, and the agent's."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model.errors import Fault
from serving.gateway.agent import Agent
from serving.gateway.assignment import BUCKETS


class AgentMetrics(Collector):
    """Reads the agent at each scrape."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The text of one scrape. While Envoy does not answer, it is the agent's own part alone."""
        own = generate_latest(self._registry)
        try:
            return own + self._agent.live.admin().prometheus().encode()
        except Fault:
            return own

    def describe(self) -> Iterator[Metric]:
        """Nothing is collected when it is registered: Envoy need not run then."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The agent's part."""
        yield from self._split()
        yield from self._following()
        yield from self._log()

    def _split(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("mgoe_gateway_envoy_up", "Whether Envoy answers and routes.")
        try:
            split, hosts = self._agent.live.weights(), self._agent.live.hosts()
        except Fault:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        labels = [split.experiment]
        weight = GaugeMetricFamily("mgoe_gateway_weight", "Candidate's share as Envoy has it.", labels=["experiment"])
        weight.add_metric(labels, split.candidate_weight / BUCKETS)
        stratum = GaugeMetricFamily("mgoe_gateway_stratum", "Stratum as Envoy has it.", labels=["experiment"])
        stratum.add_metric(labels, split.phase)
        rankers = GaugeMetricFamily("mgoe_gateway_rankers", "Rankers of each arm.", labels=["arm", "state"])
        for arm, found in hosts.items():
            rankers.add_metric([arm, "healthy"], found.healthy)
            rankers.add_metric([arm, "unhealthy"], found.known - found.healthy)
        yield from (weight, stratum, rankers)

    def _following(self) -> Iterator[Metric]:
        health = self._agent.health
        yield GaugeMetricFamily(
            "mgoe_gateway_seen_timestamp_seconds", "Last answer of the API server.", value=health.seen_at
        )
        yield GaugeMetricFamily(
            "mgoe_gateway_problem", "Whether the wanted split is not what is routed.", value=health.problem is not None
        )
        splits = CounterMetricFamily("mgoe_gateway_splits", "Wanted splits by outcome.", labels=["outcome"])
        for outcome in ("applied", "refused", "failed"):
            splits.add_metric([outcome], health.applied[outcome])
        yield splits

    def _log(self) -> Iterator[Metric]:
        sender = self._agent.sender
        if sender is None:
            return
        events = CounterMetricFamily("mgoe_gateway_exposures", "Log lines and exposures by kind.", labels=["kind"])
        for kind in sorted({"accepted", *self._agent.health.lines}):
            events.add_metric([kind], self._agent.health.lines[kind])
        yield events
        yield GaugeMetricFamily(
            "mgoe_gateway_log_waiting_bytes", "Log that was not sent yet.", value=sender.spool.waiting_bytes
        )
        yield CounterMetricFamily(
            "mgoe_gateway_log_lost_bytes", "Log that was dropped unsent.", value=sender.spool.lost_bytes
        )
        yield GaugeMetricFamily(
            "mgoe_gateway_sending_problem",
            "Whether the evidence service does not take exposures.",
            value=self._agent.health.sending is not None,
        )
