"""The driver of the gateway: one ConfigMap is written, what the replicas tell is the truth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import Fault
from serving.rollout.actions import SetWeights
from serving.rollout.driver import StaleWriteError
from serving.rollout.drivers.gateway import GatewayDriver
from serving.rollout.facts import RouterFacts
from serving.rollout.judgement import Naming
from serving.rollout.store import Key
from tests.serving.rollout.drivers.cluster_machine import NAMESPACE, RUN, UID, Others, Pods, lived, rollout
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE

GATEWAY = ("configmaps", NAMESPACE, "mgoe-gateway")
IDENTITY = "feed.1a2b3c4d"


async def cluster(pods: Pods, replicas: int = 2) -> list[Any]:
    """A gateway without a split, and one ranker an arm."""
    pods.double.put("configmaps", {"metadata": {"name": "mgoe-gateway", "namespace": NAMESPACE}})
    await pods.ranker("mmoe", BASELINE)
    await pods.ranker("mgoe", CANDIDATE)
    return [await pods.agent() for _ in range(replicas)]


def driver(pods: Pods, others: Others | None = None, uid: str = UID) -> GatewayDriver:
    return GatewayDriver(
        api=pods.api,
        http=pods.http,
        namespace=NAMESPACE,
        gateway="mgoe-gateway",
        services={"baseline": "mmoe", "candidate": "mgoe"},
        naming=Naming(IDENTITY, IDENTITY),
        ownership=pods.ownership(rollout(uid), others),
    )


def wanted(pods: Pods) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pods.double.objects[GATEWAY]["data"]["split.json"])
    return found


def test_weights_are_written_once_and_read_back_from_every_replica() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods)
        edge = driver(pods)
        assert (await edge.observe()).router == RouterFacts(weight=0, stratum=1, owner="nobody")
        await edge.set_weights(SetWeights(candidate=5, stratum=7, run=RUN))
        await edge.set_weights(SetWeights(candidate=5, stratum=7, run=RUN))
        assert pods.double.writes == [f"PUT /api/v1/namespaces/{NAMESPACE}/configmaps/mgoe-gateway"]
        assert wanted(pods) == {
            "version": 1,
            "experiment": f"{IDENTITY}.1",
            "salt": IDENTITY,
            "stratum": 7,
            "weight": 500,
            "mirror": 0,
            "services": {"baseline": "mmoe", "candidate": "mgoe"},
            "run": RUN,
            "owner": f"{NAMESPACE}/feed/{UID}",
        }
        seen = await edge.observe()
        assert seen.router == RouterFacts(weight=5, stratum=7, run=RUN, owner="self")
        assert (seen.baseline.ready, seen.baseline.serving) == (1, frozenset({BASELINE}))
        assert (seen.candidate.ready, seen.candidate.serving) == (1, frozenset({CANDIDATE}))

    lived(story)


def test_replicas_whose_watch_is_silent_are_told_to_look() -> None:
    """Invariant 4 within seconds: no abort waits until a watch is opened anew."""

    async def story(pods: Pods) -> None:
        first, second = await cluster(pods)
        edge = driver(pods)
        await edge.set_weights(SetWeights(candidate=5, stratum=7, run=RUN))
        first.unheard = second.unheard = wanted(pods)
        await edge.set_weights(SetWeights(candidate=0, stratum=8, run=RUN))
        assert (first.looks, second.looks) == (2, 2)
        assert (await edge.observe()).router == RouterFacts(weight=0, stratum=8, run=RUN, owner="self")

    lived(story)


def test_a_weight_that_replicas_do_not_agree_on_is_unknown() -> None:
    async def story(pods: Pods) -> None:
        first, second = await cluster(pods)
        edge = driver(pods)
        await edge.set_weights(SetWeights(candidate=5, stratum=7, run=RUN))
        second.stuck = wanted(pods)
        await edge.set_weights(SetWeights(candidate=20, stratum=8, run=RUN))
        assert (await edge.observe()).router == RouterFacts()
        second.stuck, first.down = None, True
        assert (await edge.observe()).router == RouterFacts()
        first.down = False
        assert (await edge.observe()).router.weight == 20

    lived(story)


def test_a_replica_that_gets_no_traffic_is_not_asked() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods, replicas=1)
        gone = await pods.agent(ready=False, serving=False)
        gone.down = True
        assert (await driver(pods).observe()).router.weight == 0

    lived(story)


def test_a_lower_stratum_and_the_same_one_with_another_weight_are_refused() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods)
        edge = driver(pods)
        await edge.set_weights(SetWeights(candidate=0, stratum=8, run=RUN))
        for stratum, weight in ((7, 20), (8, 20)):
            with pytest.raises(StaleWriteError, match=f"stratum {stratum} is not written"):
                await edge.set_weights(SetWeights(candidate=weight, stratum=stratum, run=RUN))
        assert wanted(pods)["weight"] == 0

    lived(story)


def test_a_gateway_of_another_rollout_is_not_touched_until_that_one_has_ended() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods)
        await driver(pods).set_weights(SetWeights(candidate=5, stratum=7, run=RUN))
        others = Others({Key(NAMESPACE, "feed"): rollout()})
        other = driver(pods, others, uid="another")
        assert (await other.observe()).router.owner == "other"
        with pytest.raises(Fault, match="which is still going on"):
            await other.set_weights(SetWeights(candidate=0, stratum=1, run=RUN))
        others.rollouts[Key(NAMESPACE, "feed")] = rollout(phase="Succeeded")
        assert (await other.observe()).router.owner == "nobody"
        await other.set_weights(SetWeights(candidate=0, stratum=8, run=RUN))
        assert wanted(pods)["owner"].endswith("/another")

    lived(story)


def test_a_write_that_meets_anothers_is_made_again_on_what_is_there() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods)
        pods.double.refuse = [409, 409]
        await driver(pods).set_weights(SetWeights(candidate=0, stratum=2, run=RUN))
        assert wanted(pods)["stratum"] == 2
        pods.double.refuse = [409] * 4
        with pytest.raises(Fault, match="4 writes of stratum 3"):
            await driver(pods).set_weights(SetWeights(candidate=0, stratum=3, run=RUN))

    lived(story)


def test_an_arm_is_as_ready_as_its_service_and_every_envoy_say() -> None:
    async def story(pods: Pods) -> None:
        first, _ = await cluster(pods)
        await pods.ranker("mgoe", CANDIDATE)
        await pods.ranker("mgoe", BASELINE, ready=False)
        edge = driver(pods)
        assert (await edge.observe()).candidate.ready == 2
        await edge.set_weights(SetWeights(candidate=0, stratum=2, run=RUN))
        first.healthy["candidate"] = 0
        seen = await edge.observe()
        assert (seen.candidate.ready, seen.candidate.serving) == (0, frozenset({CANDIDATE}))

    lived(story)


def test_an_arm_tells_how_far_it_can_be_scaled_down() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods)
        for name in ("mmoe", "mgoe"):
            place = {"metadata": {"name": name, "namespace": NAMESPACE}}
            pods.double.put("deployments", {**place, "spec": {"replicas": 3}})
        spec = {"scaleTargetRef": {"kind": "Deployment", "name": "mmoe"}, "minReplicas": 2, "maxReplicas": 5}
        pods.double.put(
            "horizontalpodautoscalers", {"metadata": {"name": "of-mmoe", "namespace": NAMESPACE}, "spec": spec}
        )
        seen = await driver(pods).observe()
        assert (seen.baseline.floor, seen.baseline.lowest) == (2, 1)
        assert (seen.candidate.floor, seen.candidate.lowest) == (3, 0)

    lived(story)


def test_a_ranker_that_does_not_tell_its_digest_makes_what_is_served_unknown() -> None:
    async def story(pods: Pods) -> None:
        await cluster(pods)
        await pods.pod("mgoe", "http1", [])
        seen = await driver(pods).observe()
        assert (seen.candidate.ready, seen.candidate.serving) == (2, None)

    lived(story)


def test_a_gateway_that_is_not_there_is_named() -> None:
    async def story(pods: Pods) -> None:
        assert (await driver(pods).observe()).router == RouterFacts()
        with pytest.raises(Fault, match="ConfigMap mgoe-gateway in ranking: there is none"):
            await driver(pods).set_weights(SetWeights(candidate=0, stratum=1, run=RUN))

    lived(story)
