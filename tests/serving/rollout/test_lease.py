"""Invariant 13: one leader at a time, and who lost the lease writes nothing more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kubernetes import client

from serving.rollout.fence import Held, LostLeadershipError
from serving.rollout.lease import LeaseKeeper, LeaseSettings
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_cluster import KEY, Cluster
from tests.serving.rollout.rollout_world import World


class Ticks:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def with_two(test: Callable[[LeaseKeeper, LeaseKeeper, Ticks, KubernetesDouble], Awaitable[None]]) -> None:
    async def run() -> None:
        double, ticks = KubernetesDouble(), Ticks()
        async with double.served() as api:
            await test(keeper(api, "a", ticks), keeper(api, "b", ticks), ticks, double)

    asyncio.run(run())


def keeper(api: client.ApiClient, name: str, ticks: Ticks) -> LeaseKeeper:
    return LeaseKeeper(api, LeaseSettings(namespace="mgoe", identity=name), ticks)


def test_the_first_leads_and_the_second_waits() -> None:
    async def test(first: LeaseKeeper, second: LeaseKeeper, ticks: Ticks, _: KubernetesDouble) -> None:
        assert await first.attempt()
        assert not await second.attempt()
        ticks.now += 14
        assert await first.attempt()
        assert not await second.attempt()
        assert (first.held.holds, second.held.holds) == (True, False)

    with_two(test)


def test_a_leader_that_fell_silent_stops_writing_before_another_one_begins() -> None:
    async def test(first: LeaseKeeper, second: LeaseKeeper, ticks: Ticks, _: KubernetesDouble) -> None:
        assert await first.attempt()
        assert not await second.attempt()
        for _second in range(30):
            ticks.now += 1
            leads = await second.attempt()
            assert not (leads and first.held.holds)
        assert second.held.holds
        with pytest.raises(LostLeadershipError):
            first.held.check()
        assert not await first.attempt()

    with_two(test)


def test_of_two_that_take_over_at_once_one_succeeds() -> None:
    async def test(first: LeaseKeeper, second: LeaseKeeper, ticks: Ticks, double: KubernetesDouble) -> None:
        third = LeaseKeeper(second._api.api_client, LeaseSettings(namespace="mgoe", identity="c"), ticks)
        assert await first.attempt()
        assert not await second.attempt()
        assert not await third.attempt()
        ticks.now += 16
        assert sorted(await asyncio.gather(second.attempt(), third.attempt())) == [False, True]
        lease = double.objects["leases", "mgoe", "mgoe-rollout"]
        assert lease["spec"]["leaseTransitions"] == 1

    with_two(test)


def test_a_leader_that_goes_hands_over_at_once() -> None:
    async def test(first: LeaseKeeper, second: LeaseKeeper, ticks: Ticks, _: KubernetesDouble) -> None:
        assert await first.attempt()
        await first.give_up()
        assert not first.held.holds
        assert await second.attempt()

    with_two(test)


def test_a_lease_lost_between_two_writes_stops_the_second() -> None:
    ticks = Ticks()
    held = Held(duration_s=15, margin_s=5, monotonic=ticks)
    held.renewed(held.asked())
    cluster = Cluster(World())
    operator = cluster.operator(fence=held)
    write = cluster.hand.write

    def slow(do: Callable[[], None], conflict: Callable[[], None] | None = None) -> None:
        write(do, conflict)
        ticks.now += 4

    cluster.hand.write = slow  # type: ignore[method-assign]
    with pytest.raises(LostLeadershipError):
        asyncio.run(operator.reconcile(KEY))
    assert cluster.hand.writes == 3


def test_the_charts_lease_has_no_holder_and_is_taken_at_once() -> None:
    async def run() -> dict[str, Any]:
        double = KubernetesDouble()
        double.put(
            "leases", {"metadata": {"name": "mgoe-rollout", "namespace": "mgoe", "labels": {"part": "operator"}}}
        )
        async with double.served() as api:
            assert await LeaseKeeper(api, LeaseSettings(namespace="mgoe", identity="a")).attempt()
        return double.objects["leases", "mgoe", "mgoe-rollout"]

    lease = asyncio.run(run())
    assert lease["spec"]["holderIdentity"] == "a"
    assert lease["metadata"]["labels"] == {"part": "operator"}


def test_the_lease_is_renewed_though_every_thread_of_the_process_hangs() -> None:
    released = threading.Event()

    async def test(first: LeaseKeeper, second: LeaseKeeper, ticks: Ticks, _: KubernetesDouble) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        hung = [asyncio.create_task(asyncio.to_thread(released.wait, 30)) for _ in range(8)]
        try:
            async with asyncio.timeout(10):
                assert await first.attempt()
                assert await first.attempt()
                await first.give_up()
        finally:
            released.set()
            await asyncio.gather(*hung)

    with_two(test)
