"""The queries behind the built-in guardrails, over what Envoy tells Prometheus of the candidate's cluster. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from serving.rollout.spec_measures import Guardrail


@dataclass(frozen=True)
class Queries:
    """One value, and the number of requests behind it."""

    value: str
    count: str | None


def queries_of(guardrail: Guardrail, selector: str) -> Queries:
    """selector: labels of the candidate's cluster in Envoy's metrics, as `envoy_cluster_name="candidate"`.

    Answers that Envoy had to make itself (no healthy upstream, timeout) are counted as the cluster's 5xx.
    """
    window = f"[{guardrail.window_seconds}s]"
    count = f"sum(increase(envoy_cluster_upstream_rq_completed{{{selector}}}{window}))"
    if guardrail.type == "ErrorRate":
        failed = f'envoy_cluster_upstream_rq_xx{{{selector},envoy_response_code_class="5"}}'
        # Without a single failure the series is not there; that is a rate of 0, not an unknown one.
        return Queries(f"(sum(increase({failed}{window})) or vector(0)) / {count}", count)
    if guardrail.type == "P99":
        buckets = f"sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket{{{selector}}}{window}))"
        return Queries(f"histogram_quantile(0.99, {buckets})", count)
    return Queries(guardrail.query or "", guardrail.count_query)
