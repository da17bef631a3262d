"""Weights that somebody wrote past the rollout: it takes its router back, under a number that the router accepts."""

from __future__ import annotations

import asyncio

from serving.rollout.facts import RouterFacts
from tests.serving.rollout.rollout_cluster import Cluster, settle
from tests.serving.rollout.rollout_world import World


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
