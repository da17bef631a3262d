"""A rollout from its file to its end, with every real part between; only the rankers are small."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.rollout.whole import NAME, Whole, whole

pytestmark = pytest.mark.slow

BREACH_S = 10.0
"""From a breach until no request goes to the candidate (issue: within 10 s)."""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Whole]:
    with whole(tmp_path) as started:
        yield started


def test_a_candidate_that_is_better_is_promoted_on_proof(machine: Whole, tmp_path: Path) -> None:
    machine.create(tmp_path)
    with machine.visitors(baseline=0.2, candidate=0.7) as visitors:
        machine.wait(lambda: machine.status().phase == "Succeeded", "the promotion")
        assert machine.routed() == 100
        moment = time.monotonic()
        machine.wait(lambda: visitors.candidate_after(moment) > 20, "answers of the candidate")
    assert machine.reasons() == ["NewRun", "Started", "StepUp", "Proven", "FullWeight", "Succeeded"]
    assert {status for _, _, status in visitors.statuses} == {200}
    shown = machine.mgoe("status", NAME)
    assert "Succeeded" in shown
    assert "100 % wanted, 100 % at the router" in shown
    assert "Proven" in machine.mgoe("history", NAME)


def test_a_candidate_that_fails_loses_its_traffic_within_seconds(machine: Whole, tmp_path: Path) -> None:
    machine.create(tmp_path)
    with machine.visitors(baseline=0.2, candidate=0.2) as visitors:
        machine.wait(lambda: machine.routed() >= 20, "the first step")
        machine.wait(lambda: machine.status().guardrails[0].state == "Holds", "enough requests")
        machine.rankers[1].status = 500
        broken = time.monotonic()
        machine.wait(lambda: machine.routed() == 0, "weight 0 in Envoy", BREACH_S)
        fell = time.monotonic()
        machine.wait(lambda: machine.status().phase == "RolledBack", "the end of the rollback")
        settled = time.monotonic()
        machine.wait(lambda: len(visitors.statuses) > 0 and visitors.statuses[-1][0] > settled + 0.5, "more answers")
        assert visitors.candidate_after(fell + 0.1) == 0
    assert fell - broken < BREACH_S
    last = machine.status().history[-2]
    assert (last.reason, last.weight) == ("GuardrailBreached", 0)
    assert "guardrail errors is" in last.message


def test_a_person_pauses_resumes_and_aborts(machine: Whole, tmp_path: Path) -> None:
    machine.create(tmp_path, steps=[{"weight": 20, "minSeconds": 1, "minUnits": 30}, {"weight": 50, "minSeconds": 600}])
    with machine.visitors(baseline=0.2, candidate=0.2):
        machine.wait(lambda: machine.routed() == 20, "the first step")
        machine.mgoe("pause", NAME)
        machine.wait(lambda: machine.status().phase == "Paused", "the pause")
        held = machine.status().stratum
        machine.mgoe("resume", NAME)
        machine.wait(lambda: machine.routed() == 50, "the second step")
        assert machine.status().stratum == held + 1
        machine.mgoe("set-weight", NAME, "7")
        machine.wait(lambda: machine.routed() == 7, "the weight of a person")
        machine.mgoe("abort", NAME)
        machine.wait(lambda: machine.routed() == 0, "weight 0 in Envoy", BREACH_S)
        machine.wait(lambda: machine.status().phase == "RolledBack", "the end of the rollback")
    assert machine.reasons()[-2:] == ["Aborted", "RolledBack"]
