"""Invariant 11: the operator is killed between any two writes; all runs end in the same world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.serving.rollout.rollout_cluster import Cluster, Hand, KilledError, healthy, settle, winning
from tests.serving.rollout.rollout_world import World

Scenario = tuple[Callable[[Cluster], None], ...]


def nothing(_: Cluster) -> None:
    pass


def breach(cluster: Cluster) -> None:
    cluster.world.now += 5
    cluster.world.errors = 0.5


def flap(cluster: Cluster) -> None:
    cluster.world.errors = 0.001


def delete(cluster: Cluster) -> None:
    cluster.world.deleted_at = cluster.world.now
    cluster.version += 1


def new_candidate(cluster: Cluster) -> None:
    cluster.world.wanted = (cluster.world.wanted[0], "e" * 64)
    cluster.world.candidate = type(cluster.world.candidate)(4, 4, frozenset({"e" * 64}))


def edit(**changes: object) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.edit(**changes)


SCENARIOS: dict[str, Scenario] = {
    "promotion": (nothing, healthy, healthy, winning, healthy, healthy, healthy, healthy),
    "guardrail breach at the second step": (nothing, healthy, healthy, breach, healthy),
    "abort by a person": (nothing, healthy, edit(abort=True), healthy),
    "pause, then go on": (nothing, healthy, edit(paused=True), healthy, edit(paused=False), healthy, healthy),
    "another candidate in mid-run": (nothing, healthy, healthy, new_candidate, healthy, healthy),
    "deletion at the first step": (nothing, healthy, delete, healthy, healthy),
}


def end_of(scenario: Scenario, hand: Hand) -> tuple[object, ...]:
    """What the world looks like after the scenario."""

    async def live() -> Cluster:
        cluster = Cluster(World(), hand)
        operator = cluster.operator()
        for happens in scenario:
            happens(cluster)
            operator, _ = await settle(cluster, operator)
        return cluster

    cluster = asyncio.run(live())
    world = cluster.world
    events = world.events
    assert events == sorted(set(events)), "an Event was sent out of order"
    assert len({stratum for _, stratum in cluster.router_log}) == len(set(cluster.router_log)), (
        "a stratum had two weights"
    )
    return (
        cluster.gone,
        world.state.get("phase"),
        world.state.get("weight"),
        world.router.weight,
        tuple(cluster.reasons()),
        tuple(events),
        world.baseline.floor,
        world.candidate.floor,
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_between_any_two_writes_it_ends_the_same(name: str) -> None:
    calm = Hand()
    expected = end_of(SCENARIOS[name], calm)
    assert calm.writes >= 8
    for place in range(1, calm.writes + 1):
        assert end_of(SCENARIOS[name], Hand(kill_before=place)) == expected, f"killed before write {place}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_conflict_at_any_write_changes_nothing_in_the_end(name: str) -> None:
    """Invariant 12: somebody else writes the resource just before; the loop reads again and decides again."""
    calm = Hand()
    expected = end_of(SCENARIOS[name], calm)
    for place in range(1, calm.writes + 1):
        assert end_of(SCENARIOS[name], Hand(conflict_at=place)) == expected, f"conflict at write {place}"


def test_a_rollback_that_was_cut_short_goes_on_although_the_breach_is_gone() -> None:
    async def live(kill_after: int) -> Cluster:
        cluster = Cluster(World(), Hand(kill_after=kill_after))
        operator = cluster.operator()
        for happens in (nothing, healthy, healthy):
            happens(cluster)
            operator, _ = await settle(cluster, operator)
        first_write_of_the_rollback = cluster.hand.writes + 1
        if kill_after == 0:
            return await live(first_write_of_the_rollback)
        breach(cluster)
        with pytest.raises(KilledError):
            await operator.reconcile((await cluster.keys())[0])
        flap(cluster)
        assert (cluster.world.router.weight, cluster.world.state["weight"]) == (0, 50)
        await settle(cluster, cluster.operator())
        return cluster

    cluster = asyncio.run(live(0))
    assert cluster.reasons()[-2:] == ["RollbackResumed", "RolledBack"]
    assert cluster.world.router.weight == 0
