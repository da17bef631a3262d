"""The operator in one process with an API that lists and watches: kopf hears, the lease is taken and handed over."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
from aiohttp import web

from serving.rollout.controller import Controller
from serving.rollout.lease import LeaseKeeper, LeaseSettings
from serving.rollout.operator import ears, lead, operate
from serving.rollout.resource import GROUP, KIND, PLURAL, VERSION
from serving.rollout.store import Key
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_cluster import KEY, Cluster
from tests.serving.rollout.rollout_world import SPEC, World


def test_the_lease_is_renewed_and_handed_over_at_the_end() -> None:
    async def run() -> dict[str, Any]:
        double = KubernetesDouble()
        async with double.served() as api:
            keeper = LeaseKeeper(api, LeaseSettings(namespace="mgoe", identity="a"))
            stop = asyncio.Event()
            task = asyncio.create_task(lead(keeper, stop, retry_s=0.01))
            while len(double.writes) < 3:
                await asyncio.sleep(0.01)
            assert keeper.held.holds
            stop.set()
            await task
            assert not keeper.held.holds
        return double.objects["leases", "mgoe", "mgoe-rollout"]

    assert asyncio.run(run())["spec"]["holderIdentity"] == ""


def test_a_server_that_fails_for_a_moment_does_not_cost_the_lead() -> None:
    async def run() -> None:
        double = KubernetesDouble()
        async with double.served() as api:
            keeper = LeaseKeeper(api, LeaseSettings(namespace="mgoe", identity="a"))
            stop = asyncio.Event()
            double.refuse = [0, 503, 503]
            task = asyncio.create_task(lead(keeper, stop, retry_s=0.01))
            while len(double.writes) < 2:
                await asyncio.sleep(0.01)
                assert keeper.held.holds or not double.writes
            stop.set()
            await task

    asyncio.run(run())


def discovery(double: KubernetesDouble) -> web.Application:
    """What kopf asks besides: the resources that there are, and of which kind."""
    application = double.application()
    resource = {
        "name": PLURAL,
        "singularName": KIND.lower(),
        "kind": KIND,
        "namespaced": True,
        "verbs": ["list", "watch"],
    }

    async def groups(_: web.Request) -> web.Response:
        version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        return web.json_response(
            {"groups": [{"name": GROUP, "versions": [version], "preferredVersion": version}], "versions": []}
        )

    namespaces = {**resource, "name": "namespaces", "singularName": "", "kind": "Namespace", "namespaced": False}
    double.put("namespaces", {"metadata": {"name": "ranking", "namespace": ""}})

    async def core(_: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1"], "resources": [namespaces]})

    async def resources(_: web.Request) -> web.Response:
        return web.json_response({"resources": [resource]})

    application.router.add_get("/apis", groups)
    application.router.add_get("/api", core)
    application.router.add_get("/api/v1", core)
    application.router.add_get(f"/apis/{GROUP}/{VERSION}", resources)
    return application


def test_kopf_keeps_no_notes_of_its_own_on_the_resource() -> None:
    cluster = Cluster(World())
    registry = ears(Controller(cluster, cluster.operator()))
    assert [handler.id for handler in registry._watching.get_all_handlers()] == ["ears.<locals>.changed"]
    assert not list(registry._changing.get_all_handlers())
    assert not list(registry._spawning.get_all_handlers())


def test_the_whole_operator_starts_a_rollout_and_stops() -> None:
    double = KubernetesDouble()
    double.put(PLURAL, {"metadata": {"name": "feed", "namespace": "ranking"}, "spec": SPEC})
    cluster = Cluster(World())
    keys: set[Key] = set()

    async def run() -> None:
        runner = web.AppRunner(discovery(double), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        async with double.served() as api:
            keeper = LeaseKeeper(api, LeaseSettings(namespace="mgoe", identity="a"))
            controller = Controller(
                cluster, cluster.operator(fence=keeper.held), leads=lambda: keeper.held.holds, interval_s=0.05
            )
            wake = controller.wake

            def heard(key: Key) -> None:
                keys.add(key)
                wake(key)

            controller.wake = heard  # type: ignore[method-assign]
            registry = ears(controller)

            async def login(**_: Any) -> kopf.ConnectionInfo:
                return kopf.ConnectionInfo(server=f"http://127.0.0.1:{port}")

            kopf.on.login(registry=registry)(login)
            stop = asyncio.Event()
            task = asyncio.create_task(
                operate(controller, keeper, stop, namespaces=("ranking",), retry_s=0.05, registry=registry)
            )
            async with asyncio.timeout(20):
                while cluster.reasons() != ["NewRun", "Started"] or not keys:
                    await asyncio.sleep(0.02)
                    assert not task.done(), task.exception()
            stop.set()
            async with asyncio.timeout(20):
                await task
        await runner.cleanup()

    asyncio.run(run())
    assert double.objects["leases", "mgoe", "mgoe-rollout"]["spec"]["holderIdentity"] == ""
    assert keys == {KEY}
