"""Latency per arm: over the last minute, of one Envoy or of Prometheus, honest where nothing is known."""

from __future__ import annotations

import httpx
import pytest

from model.errors import Fault
from serving.console.drawings import latency_drawing
from serving.console.latency import KEPT_S, WINDOW_S, ArmLatency, EnvoyLatency, Latencies, Latency, PrometheusLatency
from serving.gateway.admin import NotRunningError


def statistics(**counts: int) -> str:
    """Envoy's text: so many requests of an arm, each of 20 to 40 ms, two of them failed."""
    lines = ["# TYPE envoy_cluster_upstream_rq_time histogram", "# TYPE envoy_cluster_upstream_rq_completed counter"]
    for arm, count in counts.items():
        label = f'envoy_cluster_name="{arm}"'
        lines += [
            f'envoy_cluster_upstream_rq_time_bucket{{{label},le="{limit}"}} {n}'
            for limit, n in (("20", 0), ("40", count), ("+Inf", count))
        ]
        lines.append(f"envoy_cluster_upstream_rq_completed{{{label}}} {count}")
        lines.append(f'envoy_cluster_upstream_rq_xx{{{label},envoy_response_code_class="5"}} {min(2, count)}')
    return "\n".join(lines) + "\n"


def test_both_arms_are_measured_over_the_last_minute() -> None:
    seen = {"baseline": 0, "candidate": 0}
    envoy = EnvoyLatency(lambda: {"one": statistics(**seen)})
    assert envoy.read(0.0).arms["candidate"] == ArmLatency(None, None, 0, 0)
    seen.update(baseline=1000, candidate=100)
    first = envoy.read(30.0)
    assert first.arms["baseline"].requests == 1000
    candidate = first.arms["candidate"]
    assert (candidate.p50, candidate.requests, candidate.failed) == (30.0, 100, 2)
    assert candidate.p99 == pytest.approx(39.8)
    envoy.read(30.0 + WINDOW_S)
    assert envoy.read(31.0 + WINDOW_S).arms["candidate"].requests == 0, "what is older than a minute is no part of it"


def test_envoys_are_added_up_and_one_that_was_started_anew_takes_nothing_away() -> None:
    seen = {"one": {"baseline": 1000, "candidate": 100}, "two": {"baseline": 50, "candidate": 7}}
    envoy = EnvoyLatency(lambda: {address: statistics(**counts) for address, counts in seen.items()})
    envoy.read(0.0)
    seen["two"].update(baseline=60, candidate=8)
    assert envoy.read(1.0).arms["baseline"].requests == 10
    seen["one"].update(baseline=5, candidate=1)
    assert envoy.read(2.0).arms["baseline"].requests == 15
    seen["one"].update(baseline=8)
    assert envoy.read(4.0).arms["baseline"].requests == 18


def test_an_envoy_that_did_not_run_at_a_look_began_with_nothing() -> None:
    told: list[str | None] = [statistics(baseline=100), None, statistics(baseline=300)]

    def ask() -> dict[str, str]:
        found = told.pop(0)
        if found is None:
            raise NotRunningError("nothing listens")
        return {"one": found}

    envoy = EnvoyLatency(ask)
    envoy.read(0.0)
    with pytest.raises(NotRunningError):
        envoy.read(1.0)
    assert envoy.read(2.0).arms["baseline"].requests == 300


def prometheus(answer: httpx.Response) -> PrometheusLatency:
    transport = httpx.MockTransport(lambda _: answer)
    return PrometheusLatency(httpx.Client(transport=transport, base_url="http://prometheus"))


def test_prometheus_is_asked_for_each_arm() -> None:
    queries: list[str] = []

    def told(request: httpx.Request) -> httpx.Response:
        queries.append(request.url.params["query"])
        return httpx.Response(200, json={"data": {"result": [{"value": [0, "12.5"]}]}})

    client = httpx.Client(transport=httpx.MockTransport(told), base_url="http://prometheus")
    found = PrometheusLatency(client, 'namespace="ranking"').read(7.0)
    assert found.arms["candidate"] == ArmLatency(12.5, 12.5, 12, 12)
    of_candidate = [query for query in queries if '"candidate|candidate-grpc",namespace="ranking"' in query]
    assert len(of_candidate) == len(queries) // 2 == 4
    assert of_candidate[1].startswith("histogram_quantile(0.99, ")


@pytest.mark.parametrize("value", ["NaN", None])
def test_an_arm_without_requests_has_no_latency(value: str | None) -> None:
    result = [] if value is None else [{"value": [0, value]}]
    found = prometheus(httpx.Response(200, json={"data": {"result": result}})).read(0.0)
    assert found.arms["baseline"] == ArmLatency(None, None, 0, 0)


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(500), httpx.Response(200, text="no"), httpx.Response(200, json={"data": {"result": [{}]}})],
)
def test_a_prometheus_that_says_something_else_is_a_fault_in_one_line(answer: httpx.Response) -> None:
    with pytest.raises(Fault, match="Prometheus") as told:
        prometheus(answer).read(0.0)
    assert "\n" not in str(told.value)


class Turns:
    """A source that fails every other time."""

    turn = 0

    def read(self, at: float) -> Latency:
        self.turn += 1
        if self.turn % 2:
            raise Fault("no gateway runs")
        return Latency(at, {"baseline": ArmLatency(5.0, 9.0, 10), "candidate": ArmLatency(6.0, 11.0, 10)})


def test_what_cannot_be_measured_is_kept_as_the_reason_and_an_hour_is_remembered() -> None:
    now = [0.0]
    latencies = Latencies(Turns(), lambda: now[0])
    assert latencies.latest() is None
    latencies.look()
    latest = latencies.latest()
    assert latest is not None
    assert latest.problem == "no gateway runs"
    assert latency_drawing(latencies.course(), now[0]) is None
    for _ in range(3):
        now[0] += 2
        latencies.look()
    drawing = latency_drawing(latencies.course(), now[0])
    assert drawing is not None
    assert drawing.rows[-1][1:] == ("9", "11")
    now[0] += KEPT_S + 10
    latencies.look()
    assert len(latencies.course()) == 1
