"""Weights that somebody wrote past the rollout: it takes its router back, under a number that the router accepts."""

from __future__ import annotations

import asyncio

from serving.rollout.actions import SetWeights
from serving.rollout.decide import decide
from serving.rollout.facts import RouterFacts
from serving.rollout.state import Run, State
from tests.serving.rollout.rollout_cluster import Cluster, settle
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, START, World


def test_a_weight_set_past_the_rollout_is_written_over_under_a_later_stratum() -> None:
    cluster = Cluster(World())

    async def run() -> None:
        operator, _ = await settle(cluster, cluster.operator())
        assert cluster.router_log[-1] == (1, 2)
        cluster.world.router = RouterFacts(weight=90, stratum=9, owner="nobody")
        await settle(cluster, operator)

    asyncio.run(run())
    assert cluster.router_log[-1] == (1, 10)
    assert cluster.world.state["stratum"] == 10
    assert cluster.reasons() == ["NewRun", "Started"]
    assert 10 in {stratum for _, stratum in cluster.begun}, "its units are a stratum of their own"


RUN = Run(id=World().run(), baseline=BASELINE, candidate=CANDIDATE, attempt=1, started_at=START)


def test_a_rollback_that_two_operators_began_at_once_comes_to_its_end() -> None:
    """Both wrote 0 % under strata of their own, and one status was kept: the earlier one."""
    state = State(phase="RollingBack", run=RUN, stratum=4, ending="RolledBack", entered_at=START)
    world = World(state=state.to_json(), router=RouterFacts(0, 5, RUN.id, "self"))
    made = decide(world.spec, world.remembered(), world.readings(), world.facts(), world.clock())
    assert SetWeights(candidate=0, stratum=6, run=RUN.id) in made.actions
    world.state, world.router = made.state.to_json(), RouterFacts(0, 6, RUN.id, "self")
    again = decide(world.spec, world.remembered(), world.readings(), world.facts(), world.clock())
    assert again.state.phase == "RolledBack"


def test_an_old_status_undoes_no_promotion() -> None:
    """The router at 100 % under a later stratum is the newer truth; only 0 % is a rollback that was cut short."""
    state = State(phase="Promoting", run=RUN, step=2, weight=50, stratum=4, entered_at=START, confirmed_at=START)
    world = World(state=state.to_json(), router=RouterFacts(100, 5, RUN.id, "self"))
    made = decide(world.spec, world.remembered(), world.readings(), world.facts(), world.clock())
    assert (made.state.phase, made.state.weight) == ("Promoting", 50)
    assert not [each for each in made.actions if isinstance(each, SetWeights)]
    assert "the router is in stratum 5, after this status' 4" in (made.hold or "")


def test_a_pair_that_was_rolled_back_gets_no_traffic_when_an_alias_comes_back_to_it() -> None:
    cluster = Cluster(World())

    async def run() -> None:
        operator, _ = await settle(cluster, cluster.operator())
        assert cluster.router_log[-1][0] == 1
        cluster.world.set_spec(abort=True)
        await settle(cluster, operator)
        assert cluster.world.state["phase"] == "RolledBack"
        cluster.world.set_spec(abort=False)
        for candidate in ("e" * 64, CANDIDATE):
            cluster.world.wanted = (BASELINE, candidate)
            await settle(cluster, operator)
        assert cluster.world.state["phase"] == "Validating"
        assert cluster.router_log[-1][0] == 0
        cluster.world.set_spec(attempt=2)
        await settle(cluster, operator)

    asyncio.run(run())
    assert cluster.world.state["givenUp"] == [RUN.id]
    assert cluster.router_log[-1][0] == 1, "another attempt may"
