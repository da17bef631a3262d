"""Guardrails from Prometheus: every way of not knowing is told apart from a value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from serving.rollout.guardrail_queries import queries_of
from serving.rollout.prometheus import PrometheusGuardrails
from serving.rollout.readings import GuardrailReading
from serving.rollout.sight import look
from serving.rollout.spec_measures import Guardrail

ERRORS = Guardrail(name="errors", type="ErrorRate", max=0.01, min_requests=100, window_seconds=30)
LATENCY = Guardrail(name="latency", type="P99", max=50)
OWN = Guardrail(name="own", type="PromQL", query="up", min=1)
SELECTOR = 'envoy_cluster_name="candidate"'
NOW = 1_800_000_000.0


def vector(*values: str) -> httpx.Response:
    series = [{"metric": {}, "value": [NOW, value]} for value in values]
    return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": series}})


def reading(guardrail: Guardrail, answer: Callable[[str], httpx.Response]) -> GuardrailReading:
    async def run() -> GuardrailReading:
        transport = httpx.MockTransport(lambda request: answer(request.url.params["query"]))
        async with httpx.AsyncClient(base_url="http://prometheus", transport=transport) as client:
            (found,) = await PrometheusGuardrails(client, SELECTOR).read((guardrail,))
            return found

    return asyncio.run(run())


def test_a_value_comes_with_the_requests_behind_it() -> None:
    found = reading(ERRORS, lambda query: vector("0.02") if "/" in query else vector("1234.5"))
    assert found == GuardrailReading("errors", 0.02, 1234, NOW)
    assert look(ERRORS, found, NOW).breach == "guardrail errors is 0.02 over 1234 requests, above 0.01"


def test_a_candidate_without_a_request_waits_and_is_not_blind() -> None:
    found = reading(ERRORS, lambda query: vector("NaN") if "/" in query else vector())
    assert (found.samples, found.problem) == (0, None)
    waiting = look(ERRORS, found, NOW)
    assert (waiting.fault, waiting.breach) == (None, None)
    assert waiting.waiting == "guardrail errors has 0 of 100 requests"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (vector(), "the query answers no series"),
        (vector("NaN"), "the value is nan"),
        (vector("1", "2"), "the query gives 2 series, not one: aggregate it"),
        (httpx.Response(400, json={"status": "error", "error": "parse error"}), "refuses the query: parse error"),
        (httpx.Response(502, text="bad gateway"), "answers 502 without JSON"),
        (
            httpx.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": []}}),
            "gives a matrix",
        ),
    ],
)
def test_no_single_number_is_blindness(answer: httpx.Response, fault: str) -> None:
    found = look(OWN, reading(OWN, lambda _: answer), NOW)
    assert found.fault is not None
    assert fault in found.fault


def test_a_prometheus_that_is_down_is_blindness() -> None:
    def refused(_: str) -> httpx.Response:
        raise httpx.ConnectError("refused")

    found = look(OWN, reading(OWN, refused), NOW)
    assert found.fault == "Prometheus does not answer: ConnectError"


def test_a_scalar_is_one_number() -> None:
    answer = httpx.Response(200, json={"status": "success", "data": {"resultType": "scalar", "result": [NOW, "3"]}})
    assert reading(OWN, lambda _: answer) == GuardrailReading("own", 3.0, None, NOW)


def test_built_in_queries_look_at_the_candidates_cluster_over_the_window() -> None:
    for guardrail in (ERRORS, LATENCY):
        queries = queries_of(guardrail, SELECTOR)
        for query in (queries.value, queries.count or ""):
            assert SELECTOR in query
            assert f"[{guardrail.window_seconds}s]" in query


def test_a_built_in_guardrail_without_our_gateway_is_a_problem_and_no_pass() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    client = httpx.AsyncClient(base_url="http://prometheus", transport=httpx.MockTransport(refuse))
    rate = Guardrail(name="errors", type="ErrorRate", max=0.1)
    [reading] = asyncio.run(PrometheusGuardrails(client, None).read((rate,)))
    assert reading.problem is not None
    assert "write a PromQL guardrail" in reading.problem
