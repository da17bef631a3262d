"""The loop around reconcile: lost, late and repeated watch events are harmless, and only a leader looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from serving.rollout.controller import Controller
from serving.rollout.fence import Held
from serving.rollout.reconcile import Outcome, Reconciler
from serving.rollout.store import Key
from tests.serving.rollout.rollout_cluster import KEY, Cluster, Hand
from tests.serving.rollout.rollout_world import World


def lived(controller: Controller, until: Callable[[], bool], act: Callable[[], Awaitable[None]] | None = None) -> None:
    """Run the controller until something is so."""

    async def run() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(controller.run(stop))
        async with asyncio.timeout(30):
            if act is not None:
                await act()
            while not until():
                await asyncio.sleep(0.005)
        stop.set()
        await task

    asyncio.run(run())


def test_a_rollout_is_looked_at_although_no_event_ever_comes() -> None:
    cluster = Cluster(World())
    controller = Controller(cluster, cluster.operator(), interval_s=0.02)
    lived(controller, lambda: cluster.reasons() == ["NewRun", "Started"])


def test_an_event_makes_it_faster_and_a_hundred_do_no_harm() -> None:
    cluster = Cluster(World())
    controller = Controller(cluster, cluster.operator(), interval_s=3600)

    async def act() -> None:
        while cluster.reasons() != ["NewRun", "Started"]:
            await asyncio.sleep(0.005)
        cluster.edit(abort=True)
        for _ in range(100):
            controller.wake(KEY)
        controller.wake(Key("ranking", "feed"))

    lived(controller, lambda: cluster.reasons()[-1:] == ["RolledBack"], act)
    assert cluster.reasons() == ["NewRun", "Started", "Aborted", "RolledBack"]
    assert cluster.world.events == [1, 2, 3, 4]


def test_a_rollout_that_waits_for_what_does_not_answer_holds_no_other_up() -> None:
    class Stuck(Reconciler):
        async def reconcile(self, key: Key) -> Outcome:
            if key.name == "stuck":
                await asyncio.Event().wait()
            looked.append(key.name)
            return "settled"

    looked: list[str] = []
    cluster = Cluster(World())
    operator = cluster.operator()
    stuck = Stuck(operator.store, operator.fence, operator.edges, operator.clock)

    async def run() -> None:
        look = Controller(cluster, stuck).look((Key("ranking", "stuck"), KEY))
        task = asyncio.create_task(look)
        async with asyncio.timeout(10):
            while not looked:
                await asyncio.sleep(0.005)
        task.cancel()

    asyncio.run(run())
    assert looked == [KEY.name]


def test_a_conflict_is_tried_again_soon_and_not_after_the_interval() -> None:
    cluster = Cluster(World(), Hand(conflict_at=2))
    outcomes: list[Outcome] = []
    controller = Controller(
        cluster, cluster.operator(), interval_s=3600, told=lambda _, outcome, __: outcomes.append(outcome)
    )
    lived(controller, lambda: cluster.reasons() == ["NewRun", "Started"])
    assert outcomes == ["conflict", "settled"]


def test_who_does_not_lead_looks_at_nothing() -> None:
    cluster = Cluster(World())
    held = Held(duration_s=15, margin_s=5)
    controller = Controller(cluster, cluster.operator(fence=held), leads=lambda: held.holds, interval_s=0.01)
    passed = False

    async def act() -> None:
        nonlocal passed
        await asyncio.sleep(0.1)
        assert cluster.hand.writes == 0
        held.renewed(held.asked())
        passed = True

    lived(controller, lambda: passed and cluster.reasons() == ["NewRun", "Started"], act)


def test_two_operators_end_as_one_would() -> None:
    """Invariant 13 is the lease's; even without it, versions and strata keep two operators from doing harm."""
    cluster = Cluster(World())

    async def run() -> None:
        operators = [cluster.operator(), cluster.operator()]
        for _ in range(6):
            await asyncio.gather(*(operator.reconcile(KEY) for operator in operators))

    asyncio.run(run())
    assert cluster.reasons() == ["NewRun", "Started"]
    assert cluster.world.events == [1, 2]
    assert [weight for weight, _ in cluster.router_log][-1] == 1
