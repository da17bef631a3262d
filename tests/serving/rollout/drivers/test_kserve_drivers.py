"""KServe's two ways to split: what is written, what of the status is believed, and which canaries are refused."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import Fault
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import StaleWriteError
from serving.rollout.drivers import kserve_knative, kserve_standard
from serving.rollout.drivers.inference_service import InferenceService
from serving.rollout.drivers.kserve_knative import KServeKnativeDriver
from serving.rollout.drivers.kserve_standard import KServeStandardDriver, routed_percent
from serving.rollout.facts import RouterFacts
from serving.rollout.store import Key
from tests.serving.rollout.drivers.cluster_machine import NAMESPACE, RUN, Others, Pods, lived, rollout
from tests.serving.rollout.kubernetes_double import merged
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE

MODEL = {"name": "", "modelFormat": {"name": "mgoe"}}
"""The API server fills in the name."""
SERVICE = ("inferenceservices", NAMESPACE, "shop")
STANDARD: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {
        "name": "shop",
        "namespace": NAMESPACE,
        "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
    },
    "spec": {
        "predictor": {
            "minReplicas": 2,
            "model": {"name": "", "modelFormat": {"name": "mgoe"}, "storageUri": "s3://mgoe/bundles/mmoe"},
        },
        "canary": [
            {
                "trafficPercent": 0,
                "predictor": {
                    "name": "candidate",
                    "model": {"name": "", "modelFormat": {"name": "mgoe"}, "storageUri": "s3://mgoe/bundles/mgoe"},
                },
            }
        ],
    },
}
KNATIVE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "shop", "namespace": NAMESPACE},
    "spec": {"predictor": {"minReplicas": 1, "canaryTrafficPercent": 0, "model": MODEL}},
}


def with_(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return merged(copy.deepcopy(document), change)


def told(pods: Pods, percent: int, ready: bool = True) -> None:
    """What KServe's controller says of the present spec in Standard mode."""
    document = pods.double.objects[SERVICE]
    document["status"] = {
        "observedGeneration": document["metadata"]["generation"],
        "canaryStatuses": [{"name": "candidate", "ready": ready, "trafficPercent": percent}],
    }


def told_by_knative(pods: Pods, percent: int) -> None:
    """The same in Knative mode."""
    document = pods.double.objects[SERVICE]
    traffic = [{"latestRevision": True, "revisionName": "shop-2", "percent": percent}]
    if percent < 100:
        traffic.append({"latestRevision": False, "revisionName": "shop-1", "percent": 100 - percent})
    predictor = {
        "latestReadyRevision": "shop-2",
        "latestCreatedRevision": "shop-2",
        "latestRolledoutRevision": "shop-1",
        "traffic": traffic,
    }
    generation = document["metadata"]["generation"]
    document["status"] = {"observedGeneration": generation, "components": {"predictor": predictor}}


def service(pods: Pods, uid: str | None = None, others: Others | None = None) -> InferenceService:
    read = rollout() if uid is None else rollout(uid)
    return InferenceService(pods.api, NAMESPACE, "shop", pods.ownership(read, others))


def standard(pods: Pods, **of: Any) -> KServeStandardDriver:
    return KServeStandardDriver(pods.api, pods.http, NAMESPACE, service(pods, **of))


async def standard_cluster(pods: Pods) -> None:
    pods.double.put("inferenceservices", copy.deepcopy(STANDARD))
    await pods.ranker("shop-predictor", BASELINE)
    await pods.ranker("shop-predictor", BASELINE)
    await pods.ranker("shop-candidate-predictor", CANDIDATE)
    told(pods, 0)


def test_a_canary_gets_its_percent_and_keeps_everything_else() -> None:
    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        edge = standard(pods)
        assert (await edge.observe()).router == RouterFacts(weight=0)
        await edge.set_weights(SetWeights(candidate=20, stratum=3, run=RUN))
        found = pods.double.objects[SERVICE]
        [canary] = found["spec"]["canary"]
        assert canary == {**STANDARD["spec"]["canary"][0], "trafficPercent": 20}
        assert found["spec"]["predictor"] == STANDARD["spec"]["predictor"]
        # Annotations and labels go on to the pods: a changed one would start new pods.
        assert found["metadata"]["annotations"] == STANDARD["metadata"]["annotations"]
        assert (await edge.observe()).router == RouterFacts(stratum=3, run=RUN, owner="self"), "the status is older"
        told(pods, 20)
        seen = await edge.observe()
        assert seen.router == RouterFacts(weight=20, stratum=3, run=RUN, owner="self")
        assert (seen.baseline.ready, seen.baseline.floor, seen.baseline.serving) == (2, 2, frozenset({BASELINE}))
        assert (seen.candidate.ready, seen.candidate.serving) == (1, frozenset({CANDIDATE}))

    lived(story)


def test_a_new_stratum_with_the_same_percent_is_noted_too() -> None:
    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        edge = standard(pods)
        for stratum in (1, 2):
            await edge.set_weights(SetWeights(candidate=0, stratum=stratum, run=RUN))
        told(pods, 0)
        assert (await edge.observe()).router == RouterFacts(weight=0, stratum=2, run=RUN, owner="self")

    lived(story)


def test_a_lower_stratum_and_anothers_service_are_refused() -> None:
    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        await standard(pods).set_weights(SetWeights(candidate=20, stratum=3, run=RUN))
        with pytest.raises(StaleWriteError, match="stratum 2 is not written"):
            await standard(pods).set_weights(SetWeights(candidate=50, stratum=2, run=RUN))
        others = Others({Key(NAMESPACE, "feed"): rollout()})
        with pytest.raises(Fault, match="which is still going on"):
            await standard(pods, uid="another", others=others).set_weights(SetWeights(candidate=0, stratum=9, run=RUN))

    lived(story)


@pytest.mark.parametrize("mode", ["standard", "knative"])
def test_a_stratum_is_written_again_with_the_same_weights_of_the_same_run_alone(mode: str) -> None:
    async def story(pods: Pods) -> None:
        await (standard_cluster if mode == "standard" else knative_cluster)(pods)
        edge = (standard if mode == "standard" else knative)(pods)
        wanted = SetWeights(candidate=20, stratum=3, run=RUN)
        for _ in range(2):
            await edge.set_weights(wanted)
        before = copy.deepcopy(pods.double.objects[SERVICE]["spec"])
        other_run = RUN[:-1] + str(int(RUN[-1]) + 1)
        for other in (replace(wanted, candidate=50), replace(wanted, candidate=0), replace(wanted, run=other_run)):
            with pytest.raises(StaleWriteError, match=f"stratum 3 with {other.candidate} % of run {other.run} is not"):
                await edge.set_weights(other)
        assert pods.double.objects[SERVICE]["spec"] == before
        await edge.set_weights(replace(wanted, candidate=50, stratum=4))

    lived(story)


def test_weights_that_somebody_else_sets_are_nobodys() -> None:
    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        await standard(pods).set_weights(SetWeights(candidate=20, stratum=3, run=RUN))
        by_hand = [{**STANDARD["spec"]["canary"][0], "trafficPercent": 90}]
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/shop"
        patch = {"spec": {"canary": by_hand}, "metadata": {}}
        headers = {"content-type": "application/merge-patch+json"}
        (await pods.http.patch(pods.api.configuration.host + path, json=patch, headers=headers)).raise_for_status()
        told(pods, 90)
        assert (await standard(pods).observe()).router == RouterFacts(weight=90)

    lived(story)


def test_a_canary_that_is_not_ready_has_no_traffic_whatever_its_percent_says() -> None:
    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        told(pods, 20, ready=False)
        assert (await standard(pods).observe()).router.weight == 0

    lived(story)


def test_least_replicas_of_a_canary_stay_below_the_stable_ones() -> None:
    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        await standard(pods).scale(Scale("candidate", 5))
        assert pods.double.objects[SERVICE]["spec"]["canary"][0]["predictor"]["minReplicas"] == 2
        await standard(pods).scale(Scale("baseline", 5))
        assert pods.double.objects[SERVICE]["spec"]["predictor"]["minReplicas"] == 5

    lived(story)


CANARY = STANDARD["spec"]["canary"][0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"metadata": {"annotations": None}}, "a canary needs 'Standard'"),
        ({"spec": {"canary": []}}, "spec.canary has 0 entries"),
        ({"spec": {"canary": [CANARY, CANARY]}}, "spec.canary has 2 entries"),
        ({"spec": {"canary": [{**CANARY, "predictor": {"model": {}}}]}}, "predictor.name is missing"),
        ({"spec": {"predictor": {"name": "candidate"}}}, "is the stable predictor's name too"),
        ({"spec": {"canary": [merged(CANARY, {"predictor": {"maxReplicas": 3}})]}}, "maxReplicas must not be set"),
        ({"spec": {"canary": [merged(CANARY, {"predictor": {"minReplicas": 3}})]}}, "above the stable predictor's 2"),
        ({"spec": {"canary": [merged(CANARY, {"predictor": {"model": None}})]}}, "predictor.model is missing"),
        ({"spec": {"canary": [{**CANARY, "trafficPercent": 101}]}}, "trafficPercent is 101; write 0 to 100"),
        ({"spec": {"predictor": {"model": None}}}, "spec.predictor has no model"),
    ],
)
def test_a_canary_that_kserve_would_choke_on_is_refused_and_weight_0_is_not(
    change: dict[str, Any], sentence: str
) -> None:
    document = with_(STANDARD, change)
    assert any(sentence in problem for problem in kserve_standard.problems_of(document))

    async def story(pods: Pods) -> None:
        pods.double.put("inferenceservices", document)
        assert (await standard(pods).observe()).problems
        with pytest.raises(Fault, match="InferenceService shop:"):
            await standard(pods).set_weights(SetWeights(candidate=1, stratum=1, run=RUN))
        await standard(pods).set_weights(SetWeights(candidate=0, stratum=1, run=RUN))

    lived(story)


def test_the_example_has_no_problem_and_an_unknown_canary_has_no_weight() -> None:
    assert kserve_standard.problems_of(STANDARD) == ()
    assert routed_percent({**STANDARD, "status": {"canaryStatuses": []}}) is None


def knative(pods: Pods) -> KServeKnativeDriver:
    return KServeKnativeDriver(pods.api, pods.http, NAMESPACE, service(pods))


async def knative_cluster(pods: Pods) -> None:
    pods.double.put("inferenceservices", copy.deepcopy(KNATIVE))
    await pods.ranker("shop-1-private", BASELINE)
    await pods.ranker("shop-2-private", CANDIDATE)
    told_by_knative(pods, 0)


def test_knative_gets_the_percent_of_the_latest_revision() -> None:
    async def story(pods: Pods) -> None:
        await knative_cluster(pods)
        edge = knative(pods)
        await edge.set_weights(SetWeights(candidate=20, stratum=3, run=RUN))
        assert pods.double.objects[SERVICE]["spec"]["predictor"]["canaryTrafficPercent"] == 20
        assert (await edge.observe()).router.weight is None, "the status is older"
        told_by_knative(pods, 20)
        seen = await edge.observe()
        assert seen.router == RouterFacts(weight=20, stratum=3, run=RUN, owner="self")
        assert (seen.baseline.serving, seen.candidate.serving) == (frozenset({BASELINE}), frozenset({CANDIDATE}))
        assert seen.candidate.floor is None
        with pytest.raises(Fault, match="a revision's scale is fixed"):
            await edge.scale(Scale("candidate", 2))

    lived(story)


def test_after_full_weight_the_revision_before_is_still_the_baseline() -> None:
    revisions = kserve_knative.revisions_of(
        {
            "metadata": {"generation": 4},
            "status": {
                "observedGeneration": 4,
                "components": {
                    "predictor": {
                        "latestReadyRevision": "shop-2",
                        "latestCreatedRevision": "shop-2",
                        "latestRolledoutRevision": "shop-2",
                        "previousRolledoutRevision": "shop-1",
                        "traffic": [{"latestRevision": True, "percent": 100}],
                    }
                },
            },
        }
    )
    assert (revisions.baseline, revisions.candidate, revisions.percent) == ("shop-1", "shop-2", 100)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"spec": {"predictor": {"minReplicas": 0}}}, "scaled to zero cannot be told from a lost one"),
        ({"spec": {"canary": [CANARY]}}, "spec.canary is of the Standard mode"),
        ({}, "no revision is ready yet"),
    ],
)
def test_what_knative_cannot_split_is_told(change: dict[str, Any], sentence: str) -> None:
    assert any(sentence in problem for problem in kserve_knative.problems_of(with_(KNATIVE, change)))


def test_a_third_revision_makes_the_weight_unknown() -> None:
    traffic = [{"revisionName": "shop-0", "percent": 50}, {"latestRevision": True, "percent": 50}]
    predictor = {
        "latestReadyRevision": "shop-2",
        "latestCreatedRevision": "shop-2",
        "latestRolledoutRevision": "shop-1",
        "traffic": traffic,
    }
    document = {**KNATIVE, "status": {"components": {"predictor": predictor}}}
    assert kserve_knative.revisions_of(document).percent is None


@pytest.mark.parametrize("document", [STANDARD, KNATIVE])
def test_what_the_drivers_write_and_read_are_fields_of_kserves_schema(document: dict[str, Any]) -> None:
    import jsonschema

    folder = os.environ.get("MGOE_CRDS")
    if folder is None:
        pytest.skip("MGOE_CRDS names no folder of CRDs (kserve-v0.20.0)")
    path = Path(folder) / "kserve-v0.20.0" / "serving.kserve.io_inferenceservices.yaml"
    [version] = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    status = {
        "observedGeneration": 1,
        "canaryStatuses": [
            {"name": "candidate", "ready": True, "trafficPercent": 20, "modelStatus": {"transitionStatus": "UpToDate"}}
        ],
        "components": {"predictor": {"latestReadyRevision": "shop-2", "traffic": [{"percent": 100}]}},
        "modelStatus": {"transitionStatus": "UpToDate"},
    }
    jsonschema.validate({**document, "status": status}, schema)
    parts = schema["properties"]
    assert {"canary", "predictor"} <= set(parts["spec"]["properties"])
    component = parts["status"]["properties"]["components"]["additionalProperties"]["properties"]
    read = {
        "latestReadyRevision",
        "latestCreatedRevision",
        "latestRolledoutRevision",
        "previousRolledoutRevision",
        "traffic",
    }
    assert read <= set(component)
    assert set(kserve_standard.FORBIDDEN) <= set(parts["spec"]["properties"]["predictor"]["properties"])
    canary = parts["spec"]["properties"]["canary"]
    assert canary["x-kubernetes-list-type"] == "atomic"
    assert set(canary["items"]["properties"]) == {"predictor", "trafficPercent"}


def test_a_deleted_inference_service_is_a_fault_of_every_look_and_write() -> None:
    """The rollout is then blind and holds; `whenBlind` ends it."""

    async def story(pods: Pods) -> None:
        await standard_cluster(pods)
        edge = standard(pods)
        del pods.double.objects[SERVICE]
        with pytest.raises(Fault, match="InferenceService shop in ranking: there is none"):
            await edge.observe()
        with pytest.raises(Fault, match="InferenceService shop in ranking: there is none"):
            await edge.set_weights(SetWeights(candidate=0, stratum=4, run=RUN))

    lived(story)
