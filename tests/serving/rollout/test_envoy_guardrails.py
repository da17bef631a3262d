"""Guardrails of one Envoy: counters become rates over a window."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import Fault
from serving.gateway.admin import NotRunningError
from serving.gateway.bootstrap import LATENCIES_MS
from serving.rollout.envoy_guardrails import EnvoyGuardrails, quantile
from serving.rollout.readings import GuardrailReading
from serving.rollout.spec_measures import Guardrail

ERRORS = Guardrail(name="errors", type="ErrorRate", max=0.1, window_seconds=10)
P99 = Guardrail(name="latency", type="P99", max=50, window_seconds=10)
QUERY = Guardrail(name="own", type="PromQL", query="1", max=2)


def text(completed: int, failed: int, fast: int = 0) -> str:
    """As Envoy 1.40 writes it; another cluster's counters are in it too."""
    lines = []
    for cluster, factor in (("candidate", 1), ("baseline", 1000)):
        label = f'envoy_cluster_name="{cluster}"'
        lines += [
            f"envoy_cluster_upstream_rq_completed{{{label}}} {completed * factor}",
            f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="5",{label}}} {failed * factor}',
            f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="2",{label}}} {(completed - failed) * factor}',
            f'envoy_cluster_upstream_rq_time_bucket{{{label},le="10"}} {fast * factor}',
            f'envoy_cluster_upstream_rq_time_bucket{{{label},le="100"}} {completed * factor}',
            f'envoy_cluster_upstream_rq_time_bucket{{{label},le="+Inf"}} {completed * factor}',
        ]
    return "# TYPE envoy_cluster_upstream_rq_completed counter\n" + "\n".join(lines) + "\n"


class Machine:
    """An Envoy and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.text = text(0, 0)
        self.source = EnvoyGuardrails(self.statistics, now=lambda: self.now)

    def statistics(self) -> dict[str, str]:
        if not self.text:
            raise Fault("Envoy does not answer")
        return {"one": self.text}

    def read(self, *guardrails: Guardrail) -> tuple[GuardrailReading, ...]:
        return asyncio.run(self.source.read(guardrails))


def test_a_rate_is_of_the_window_and_not_of_all_time() -> None:
    machine = Machine()
    machine.read(ERRORS)
    machine.now, machine.text = 1010.0, text(1000, 0)
    assert machine.read(ERRORS) == (GuardrailReading("errors", 0.0, 1000, 1010.0),)
    machine.now, machine.text = 1020.0, text(1100, 50)
    assert machine.read(ERRORS) == (GuardrailReading("errors", 0.5, 100, 1020.0),)


def test_rollouts_that_read_at_the_same_moment_do_not_take_each_other_for_another_envoy() -> None:
    """The first question's answer comes last."""
    turn, asked = threading.Lock(), [0]
    others = threading.Event()

    def statistics() -> dict[str, str]:
        with turn:
            asked[0] += 1
            number = asked[0]
        if number % 2 == 0:
            others.wait(0.2)  # for one that was asked later, if there is such
        else:
            others.set()
        return {"one": text(100 * number, 50 * number)}

    async def run() -> None:
        now = [1000.0]
        source = EnvoyGuardrails(statistics, now=lambda: now[0])
        await source.read((ERRORS,))
        for _ in range(3):
            now[0] += 10.0
            others.clear()
            told = await asyncio.gather(*(source.read((ERRORS,)) for _ in range(2)))
            assert [(each.value, each.samples) for (each,) in told] == [(0.5, 100)] * 2

    asyncio.run(run())


def test_without_requests_there_is_no_value_and_no_fault() -> None:
    assert Machine().read(ERRORS, P99) == (
        GuardrailReading("errors", None, 0, 1000.0),
        GuardrailReading("latency", None, 0, 1000.0),
    )


def test_an_envoy_that_was_started_anew_takes_nothing_away() -> None:
    machine = Machine()
    machine.text = text(1000, 500)
    machine.read(ERRORS)
    machine.now, machine.text = 1001.0, text(10, 0)
    assert machine.read(ERRORS)[0] == GuardrailReading("errors", 0.0, 10, 1001.0)
    machine.now, machine.text = 1002.0, text(20, 2)
    assert machine.read(ERRORS)[0] == GuardrailReading("errors", 0.1, 20, 1002.0)


def test_a_quantile_lies_inside_its_bucket() -> None:
    machine = Machine()
    machine.read(P99)
    machine.now, machine.text = 1010.0, text(100, 0, fast=98)
    assert machine.read(P99)[0].value == pytest.approx(10 + 90 * 0.5)
    assert quantile({10.0: 5, math.inf: 10}, 0.99) == 10.0
    assert quantile({}, 0.99) is None


@given(st.lists(st.integers(2, 80_000), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_of_the_gateways_buckets_is_off_by_a_quarter_at_most(values: list[int], share: float) -> None:
    buckets = {limit: float(sum(each <= limit for each in values)) for limit in (*LATENCIES_MS, math.inf)}
    found = quantile(buckets, share)
    assert found is not None
    true = sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]
    assert true / 1.281 <= found <= true * 1.281


def test_what_cannot_be_asked_is_a_problem_of_the_reading() -> None:
    machine = Machine()
    assert machine.read(QUERY)[0].problem == "PromQL needs a Prometheus (--prometheus)"
    machine.text = ""
    assert machine.read(ERRORS)[0].problem == "Envoy does not answer"


def test_an_envoy_that_did_not_run_at_a_look_began_with_nothing() -> None:
    def statistics() -> dict[str, str]:
        if machine.text == "away":
            raise NotRunningError("nothing listens")
        return {"one": machine.text}

    machine = Machine()
    machine.source = EnvoyGuardrails(statistics, now=lambda: machine.now)
    machine.text = text(100, 10)
    machine.read(ERRORS)
    machine.now, machine.text = 1005.0, "away"
    assert machine.read(ERRORS)[0].problem == "nothing listens"
    machine.now, machine.text = 1010.0, text(200, 20)
    assert machine.read(ERRORS) == (GuardrailReading("errors", 0.1, 200, 1010.0),)
