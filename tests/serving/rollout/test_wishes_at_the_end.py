"""What a person wishes while a promotion waits, goes on or is over, and what a promoted model is safe from."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from serving.rollout.actions import SetWeights
from serving.rollout.decide import decide
from serving.rollout.facts import RouterFacts
from serving.rollout.state import Phase, Run, State
from tests.serving.rollout.rollout_cluster import Cluster, settle
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, START, World, serving

RUN = Run(id=World().run(), baseline=BASELINE, candidate=CANDIDATE, attempt=1, started_at=START)
OTHER = "d" * 64
PROMOTED = RouterFacts(weight=100, stratum=7, run=f"{OTHER[:12]}-{CANDIDATE[:12]}-1", owner="nobody")
"""A finished rollout's: all traffic is on its promoted candidate."""


def promoting() -> World:
    state = State(phase="Promoting", run=RUN, step=2, weight=100, stratum=4, entered_at=START, confirmed_at=START)
    return World(state=state.to_json(), router=RouterFacts(100, 4, RUN.id, "self"))


def decided(world: World) -> Any:
    return decide(world.spec, world.remembered(), world.readings(), world.facts(), world.clock())


def test_a_weight_that_a_person_sets_takes_a_promotion_back_to_the_ramp() -> None:
    world = promoting()
    world.set_spec(weightOverride={"weight": 25, "run": RUN.id}, promote=RUN.id)
    made = decided(world)
    assert (made.state.phase, made.state.weight, made.state.overridden) == ("Ramping", 25, True)
    assert SetWeights(candidate=25, stratum=5, run=RUN.id) in made.actions
    world.state, world.router = made.state.to_json(), RouterFacts(25, 5, RUN.id, "self")
    assert decided(world).state.phase == "Ramping", "the person's weight holds, whatever was asked before"


def test_the_end_of_a_rollback_still_says_what_it_came_from() -> None:
    world = promoting()
    broken = "guardrail errors is 0.06 over 166 requests, above 0.05"
    state = State(phase="RollingBack", run=RUN, stratum=4, ending="RolledBack", message=broken, entered_at=START)
    world.state, world.router = state.to_json(), RouterFacts(0, 4, RUN.id, "self")
    made = decided(world)
    assert made.state.phase == "RolledBack"
    assert made.state.message == f"{broken}; the router has 0 % for the candidate"


def test_a_promotion_that_was_asked_for_tells_what_it_waits_for() -> None:
    world = promoting()
    state = State(phase="Ramping", run=RUN, weight=1, stratum=4, entered_at=START, confirmed_at=START)
    world.state, world.router, world.requests = state.to_json(), RouterFacts(1, 4, RUN.id, "self"), 50
    world.set_spec(promote=RUN.id)
    made = decided(world)
    assert made.state.phase == "Ramping"
    assert made.hold is not None
    assert made.hold.startswith("the promotion that a person asked for waits: ")
    assert "50 of 100 requests" in made.hold


def new_rollout_at(router: RouterFacts, seconds: int = 0) -> tuple[Cluster, World]:
    world = World(router=router)
    cluster = Cluster(world)

    async def run() -> None:
        operator, _ = await settle(cluster, cluster.operator())
        world.now += seconds
        await settle(cluster, operator)

    asyncio.run(run())
    return cluster, world


def test_a_promoted_model_is_not_taken_out_of_production_by_a_rollout_of_another_baseline() -> None:
    cluster, world = new_rollout_at(PROMOTED)
    assert world.state["phase"] == "Validating"
    assert cluster.router_log == []
    (progressing,) = (each for each in world.state["conditions"] if each["type"] == "Progressing")
    assert PROMOTED.run is not None
    assert f"the candidate of run {PROMOTED.run}, and the baseline is another model" in progressing["message"]


def test_it_fails_in_the_end_and_leaves_the_router_alone() -> None:
    cluster, world = new_rollout_at(PROMOTED, seconds=100_000)
    assert world.state["phase"] == "Failed"
    assert cluster.router_log == []


def test_the_promoted_model_as_baseline_begins_the_next_comparison() -> None:
    next_one = RouterFacts(weight=100, stratum=7, run=f"{OTHER[:12]}-{BASELINE[:12]}-1", owner="nobody")
    cluster, world = new_rollout_at(next_one)
    assert [weight for weight, _ in cluster.router_log] == [0, 1]
    assert world.state["phase"] == "Ramping"


@pytest.mark.parametrize("owner", ["self", "nobody"])
def test_a_promoted_model_keeps_its_traffic_until_the_baseline_serves_it(owner: Literal["self", "nobody"]) -> None:
    """The next pair: the promoted model is the baseline now, and the baseline's rankers have the old one still."""
    before = RouterFacts(weight=100, stratum=7, run=f"{OTHER[:12]}-{BASELINE[:12]}-1", owner=owner)
    world = World(router=before, baseline=serving(OTHER))
    cluster = Cluster(world)

    async def run() -> None:
        operator, _ = await settle(cluster, cluster.operator())
        assert cluster.router_log == []
        assert world.state["phase"] == "Validating"
        world.baseline = serving(BASELINE)
        await settle(cluster, operator)

    asyncio.run(run())
    assert [weight for weight, _ in cluster.router_log] == [0, 1]


@pytest.mark.parametrize(
    "router",
    [
        RouterFacts(weight=100, stratum=7, run=None, owner="nobody"),
        RouterFacts(weight=20, stratum=7, run=PROMOTED.run, owner="nobody"),
    ],
)
def test_weights_that_nobody_promoted_are_taken_over(router: RouterFacts) -> None:
    assert new_rollout_at(router)[0].router_log[0][0] == 0


def test_a_promoted_rollout_whose_router_went_on_to_another_says_so() -> None:
    world = World(state=State(phase="Succeeded", run=RUN, weight=100, stratum=4).to_json())
    world.router = RouterFacts(10, 6, PROMOTED.run, "other")
    world.baseline, world.candidate = serving(OTHER), serving(CANDIDATE)
    cluster = Cluster(world)
    asyncio.run(_looked_at(cluster))
    (ready,) = (each for each in world.state["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Superseded")
    assert f"10 % of run {PROMOTED.run}" in ready["message"]


async def _looked_at(cluster: Cluster) -> None:
    await settle(cluster, cluster.operator())


@pytest.mark.parametrize("phase", ["Succeeded"])
def test_wishes_that_come_after_the_end_are_told_to_be_ignored(phase: Phase) -> None:
    world = World(state=State(phase=phase, run=RUN, weight=100, stratum=4).to_json())
    world.router = RouterFacts(100, 4, RUN.id, "self")
    world.set_spec(paused=True, abort=True, weightOverride={"weight": 25, "run": RUN.id})
    cluster = Cluster(world)
    asyncio.run(_looked_at(cluster))
    ignored = world.state["steering"]["ignored"]
    assert [each.split()[0] for each in ignored] == ["weightOverride", "abort", "paused"]
    assert all("has ended (Succeeded)" in each for each in ignored)


def test_a_rollout_created_again_does_not_take_out_what_it_promoted_before() -> None:
    """Deleted after its promotion, and made again from the same file: the same run, of which nobody knows."""
    cluster, world = new_rollout_at(RouterFacts(100, 7, RUN.id, "nobody"))
    assert world.state["phase"] == "Validating"
    assert cluster.router_log == []


@pytest.mark.parametrize(("baseline", "begins"), [(BASELINE, False), (CANDIDATE, True)])
def test_a_new_candidate_alone_does_not_bring_the_old_baseline_back(baseline: str, begins: bool) -> None:
    """After A/B promoted B, the file is edited to A/C, or to B/C."""
    state = State(phase="Succeeded", run=RUN, weight=100, stratum=4)
    world = World(state=state.to_json(), router=RouterFacts(100, 4, RUN.id, "self"), wanted=(baseline, OTHER))
    world.baseline, world.candidate = serving(baseline), serving(OTHER)
    cluster = Cluster(world)
    asyncio.run(_looked_at(cluster))
    assert world.state["run"]["candidate"] == OTHER
    assert bool(cluster.router_log) is begins


def test_another_attempt_of_a_promoted_pair_is_a_persons_own_wish() -> None:
    state = State(phase="Succeeded", run=RUN, weight=100, stratum=4)
    world = World(state=state.to_json(), router=RouterFacts(100, 4, RUN.id, "self"))
    world.set_spec(attempt=2)
    cluster = Cluster(world)
    asyncio.run(_looked_at(cluster))
    assert cluster.router_log[0][0] == 0


def test_a_run_that_never_had_traffic_writes_nothing_into_a_router_that_cannot_be_read() -> None:
    cluster, world = new_rollout_at(PROMOTED)
    world.router_readable = False
    world.set_spec(abort=True)
    asyncio.run(_looked_at(cluster))
    assert world.state["phase"] == "RollingBack"
    assert cluster.router_log == []
    world.router_readable = True
    asyncio.run(_looked_at(cluster))
    assert (world.state["phase"], cluster.router_log) == ("RolledBack", [])
