"""The loop around reconcile: lost, late and repeated watch events are harmless, and only a leader looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.rollout.controller import Controller
from serving.rollout.fence import Held
from serving.rollout.reconcile import Outcome, Reconciler
from serving.rollout.store import Key
from tests.serving.rollout.rollout_cluster import KEY, Cluster, Hand
from tests.serving.rollout.rollout_world import World
from tests.serving.rollout.virtual_time import lived as lived_virtually


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


class Scripted(Reconciler):
    """Two rollouts: "slow" does what it is told to, "feed" is done at once."""

    def __init__(self, cluster: Cluster, slow: Callable[[], Awaitable[None]]) -> None:
        plain = cluster.operator()
        super().__init__(plain.store, plain.fence, plain.edges, plain.clock)
        object.__setattr__(self, "slow", slow)
        object.__setattr__(self, "looked", [])

    async def reconcile(self, key: Key) -> Outcome:
        self.looked.append(key)  # type: ignore[attr-defined]
        if key == SLOW:
            await self.slow()  # type: ignore[attr-defined]
        return "settled"


class Two(Cluster):
    """A store that lists two rollouts."""

    async def keys(self) -> tuple[Key, ...]:
        return (SLOW, KEY)


SLOW = Key("ranking", "slow")


def test_a_look_that_hangs_holds_no_other_rollout_up_and_no_abort() -> None:
    """Through the loop itself: every interval, and at once when woken."""
    released = asyncio.Event()

    async def run() -> tuple[list[float], list[Key]]:
        loop = asyncio.get_running_loop()
        at: list[float] = []
        operator = Scripted(Two(World()), released.wait)  # type: ignore[arg-type]
        controller = Controller(operator.store, operator, interval_s=5, told=lambda key, _, __: at.append(loop.time()))
        stop = asyncio.Event()
        loop.call_later(13, controller.wake, KEY)
        loop.call_later(14, controller.wake, SLOW)
        loop.call_later(17, released.set)
        loop.call_later(18, stop.set)
        await controller.run(stop)
        return at, operator.looked  # type: ignore[attr-defined]

    at, looked = lived_virtually(run())
    assert at == [
        0,
        5,
        10,
        13,
        15,
        17,
        17,
    ]  # the two last are of the slow one: woken while it ran, it is looked at again
    assert looked.count(SLOW) == 2


def test_a_rollout_that_is_over_is_looked_at_rarely_and_at_once_when_woken() -> None:
    class Over(Scripted):
        async def reconcile(self, key: Key) -> Outcome:
            await super().reconcile(key)
            return "ended" if key == KEY else "settled"

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        at: list[float] = []

        def told(key: Key, _: Outcome, __: float) -> None:
            if key == KEY:
                at.append(loop.time())

        operator = Over(Two(World()), lambda: asyncio.sleep(0))
        controller = Controller(operator.store, operator, interval_s=5, told=told)
        stop = asyncio.Event()
        loop.call_later(12, controller.wake, KEY)
        loop.call_later(48, stop.set)
        await controller.run(stop)
        return at

    assert lived_virtually(run()) == pytest.approx([0, 12, 45], abs=0.1)


def test_an_unforeseen_error_is_raised_when_the_looks_that_have_begun_are_ended() -> None:
    ended: list[str] = []

    async def run() -> None:
        async def slow() -> None:
            await asyncio.sleep(1)
            raise TypeError("unforeseen")

        operator = Scripted(Two(World()), slow)

        class Long(Scripted):
            async def reconcile(self, key: Key) -> Outcome:
                if key == KEY:
                    await asyncio.sleep(3)
                    ended.append("written")
                return await super().reconcile(key)

        long = Long(Two(World()), slow)
        await Controller(operator.store, long, interval_s=5).run(asyncio.Event())

    with pytest.raises(TypeError, match="unforeseen"):
        lived_virtually(run())
    assert ended == ["written"]


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
