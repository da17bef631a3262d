"""A rollout in a cluster: promoted, aborted, broken off by a guardrail, deleted; through the API that people use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from serving.rollout.desk import ClusterDesk
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.steering import aborted, paused, promoted
from tests.e2e_cluster.cluster import Cluster
from tests.e2e_cluster.inference_pair import inference_pair
from tests.e2e_cluster.surroundings import DIGESTS, LocalSurroundings, Surroundings
from tests.serving.rollout.whole import Visitors

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SOON_S = 10.0
"""In which a breach and a person's abort must have taken the candidate to 0."""


class Rollout:
    """One ModelRollout, steered as `mgoe rollout` does."""

    def __init__(self, surroundings: Surroundings, name: str, **changes: Any) -> None:
        place = surroundings.place
        self.cluster, self.name = place.cluster, name
        self.desk = ClusterDesk(place.cluster.api, place.namespace)
        self.path = f"/apis/mgoe.dev/v1alpha1/namespaces/{place.namespace}/modelrollouts/{name}"
        spec = {
            "baseline": {"bundle": "s3://e2e/mmoe", "digest": DIGESTS["mmoe"]},
            "candidate": {"bundle": "s3://e2e/mgoe", "digest": DIGESTS["mgoe"]},
            "driver": {
                "type": "gateway",
                "gateway": place.gateway,
                "services": {"baseline": "mmoe", "candidate": "mgoe"},
            },
            "steps": [{"weight": 20, "minSeconds": 1, "minUnits": 0}, {"weight": 50, "minSeconds": 1, "minUnits": 0}],
            "metrics": [{"name": "clicks", "kind": "Proportion", "value": "click", "role": "Primary"}],
            "guardrails": [{"name": "errors", "type": "PromQL", "query": "e2e_errors", "max": 0.1}],
            "promotion": {"bakeSeconds": 2},
            "capacity": {"replicas": 1},
        }
        self.desk.create(name, {**spec, **changes})

    @property
    def status(self) -> ModelRolloutStatus:
        return ModelRolloutStatus.model_validate(self.desk.read(self.name).status or {})

    def wait(self, so: Callable[[ModelRolloutStatus], bool], what: str, seconds: float = 120.0) -> float:
        """Seconds until it was so."""
        begun = time.monotonic()
        while not so(self.status):
            progressing = self.status.condition("Progressing")
            told = f"{self.status.phase}, {self.status.message}; {progressing.message if progressing else ''}"
            assert time.monotonic() - begun < seconds, f"{self.name}: no {what} after {seconds} s: {told}"
            time.sleep(0.2)
        return time.monotonic() - begun

    def ramp(self) -> None:
        """Up to its last step."""
        self.wait(lambda status: (status.phase, status.observed_weight) == ("Ramping", 50), "weight of 50 %", 300)

    def end(self) -> None:
        """Deleted, and gone: invariant 16."""
        self.desk.delete(self.name)
        begun = time.monotonic()
        while self.cluster.found(self.path) is not None:
            assert time.monotonic() - begun < 150, f"{self.name} hangs"
            time.sleep(0.5)


def back_on_baseline(status: ModelRolloutStatus) -> bool:
    return (status.phase, status.observed_weight) == ("RolledBack", 0)


def test_a_person_promotes_and_every_transition_has_its_event(surroundings: Surroundings) -> None:
    rollout = Rollout(surroundings, "promoted")
    rollout.ramp()
    rollout.desk.edit(rollout.name, lambda spec: promoted(spec, rollout.status))
    rollout.wait(lambda status: status.phase == "Succeeded", "success")
    status = rollout.status
    assert status.observed_weight == 100
    assert [line.reason for line in status.history] == [
        "NewRun", "Started", "StepUp", "PromotedByPerson", "FullWeight", "Succeeded"
    ]  # fmt: skip
    events = rollout.cluster.call("GET", surroundings.place.path("events"))["items"]
    told = [each["reason"] for each in events if each["involvedObject"]["name"] == rollout.name]
    assert sorted(told) == sorted(line.reason for line in status.history)
    rollout.end()


def test_a_persons_abort_is_at_zero_within_seconds(surroundings: Surroundings) -> None:
    rollout = Rollout(surroundings, "aborted")
    rollout.ramp()
    rollout.desk.edit(rollout.name, aborted)
    assert rollout.wait(back_on_baseline, "rollback") < SOON_S
    assert rollout.status.history[-2].reason == "Aborted"
    rollout.end()


def test_a_guardrails_breach_is_at_zero_within_ten_seconds(surroundings: Surroundings) -> None:
    rollout = Rollout(surroundings, "breached")
    rollout.ramp()
    try:
        surroundings.errors(0.5)
        assert rollout.wait(back_on_baseline, "rollback") < SOON_S
    finally:
        surroundings.errors(0.0)
    assert rollout.status.history[-2].reason == "GuardrailBreached"
    assert "errors is 0.5" in rollout.status.history[-2].message
    rollout.end()


def test_a_rollout_that_is_deleted_under_traffic_gives_it_back_first(surroundings: Surroundings) -> None:
    rollout = Rollout(surroundings, "deleted")
    rollout.ramp()
    rollout.end()
    place = surroundings.place
    split = rollout.cluster.call("GET", place.path("configmaps", place.gateway))["data"]["split.json"]
    assert '"weight": 0' in split


def test_a_pause_holds_the_weight_until_it_is_lifted(surroundings: Surroundings) -> None:
    rollout = Rollout(surroundings, "paused")
    rollout.desk.edit(rollout.name, lambda spec: paused(spec, True))
    time.sleep(5)
    assert rollout.status.weight == 0
    rollout.desk.edit(rollout.name, lambda spec: paused(spec, False))
    rollout.ramp()
    rollout.end()


def test_a_candidate_that_is_better_is_promoted_by_what_the_gateway_logged(surroundings: Surroundings) -> None:
    """Envoy's log, sent by the agent, joined with clicks by the evidence service, judged by the operator."""
    if not isinstance(surroundings, LocalSurroundings):
        pytest.skip("the gateway is in pods, where visitors from here do not come")
    rollout = Rollout(
        surroundings,
        "proven",
        steps=[{"weight": 20, "minSeconds": 1, "minUnits": 30}, {"weight": 50, "minSeconds": 1, "minUnits": 60}],
        analysis={"burnInUnits": 20, "plannedUnits": 400},
    )
    experiment = f"{rollout.desk.read('proven').identity}.1"
    clicks = {"baseline": 0.2, "candidate": 0.7}
    with surroundings.evidence.client("write") as evidence:
        with Visitors(surroundings.gateway.port, evidence, experiment, clicks).visiting() as visitors:
            rollout.wait(lambda status: status.phase == "Succeeded", "success", 300)
        assert {status for _, _, status in visitors.statuses} == {200}
    assert [line.reason for line in rollout.status.history] == [
        "NewRun", "Started", "StepUp", "Proven", "FullWeight", "Succeeded"
    ]  # fmt: skip
    assert rollout.status.evidence.verdict == "Win"
    rollout.end()


def test_a_canary_of_kserve_gets_its_percent_and_loses_it_at_an_abort(
    cluster: Cluster, surroundings: Surroundings
) -> None:
    with inference_pair(surroundings) as pair:
        rollout = Rollout(surroundings, "canary", driver={"type": "kserve-standard", "inferenceService": pair.name})
        rollout.ramp()
        assert pair.percents() == (50, 50)
        assert any(manager.startswith("mgoe/") for manager in pair.managers())
        rollout.desk.edit(rollout.name, aborted)
        assert rollout.wait(back_on_baseline, "rollback") < SOON_S
        assert pair.percents() == (0, 0)
        rollout.end()
