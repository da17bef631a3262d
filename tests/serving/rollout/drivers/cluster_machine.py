"""Pods on loopback: rankers that tell their digest, agents that follow a ConfigMap, EndpointSlices of both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiohttp import web
from kubernetes import client

from serving.rollout.drivers.ownership import Ownership
from serving.rollout.store import Key, Stored
from tests.serving.rollout.kubernetes_double import KubernetesDouble
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE

NAMESPACE = "ranking"
UID = "1a2b3c4d-0000-4000-8000-000000000000"
RUN = f"{BASELINE[:12]}-{CANDIDATE[:12]}-1"


def rollout(uid: str = UID, name: str = "feed", phase: str = "Ramping") -> Stored:
    return Stored(Key(NAMESPACE, name), uid, "1", 1, {}, {"phase": phase})


@dataclass
class Others:
    """A store that knows these rollouts."""

    rollouts: dict[Key, Stored] = field(default_factory=dict)

    async def get(self, key: Key) -> Stored | None:
        return self.rollouts.get(key)


@dataclass
class Agent:
    """One gateway pod. Follows the ConfigMap, unless it is stuck."""

    double: KubernetesDouble
    name: str
    healthy: dict[str, int] = field(default_factory=lambda: {"baseline": 1, "candidate": 1})
    stuck: dict[str, Any] | None = None
    """What it goes on routing by."""
    unheard: dict[str, Any] | None = None
    """What it goes on routing by until it is told to look."""
    down: bool = False
    looks: int = 0
    """How often it was told to read the ConfigMap now."""

    async def look(self, request: web.Request) -> web.Response:
        if not self.down:
            self.looks += 1
            self.unheard = None
        return await self.split(request)

    async def split(self, _: web.Request) -> web.Response:
        if self.down:
            return web.json_response({"replica": self.name, "problem": "Envoy does not answer"}, status=503)
        found = self.double.objects["configmaps", NAMESPACE, "mgoe-gateway"]
        text = (found.get("data") or {}).get("split.json")
        wanted = (
            self.stuck
            or self.unheard
            or (json.loads(text) if text else {"experiment": "none", "salt": "none", "stratum": 1, "weight": 0})
        )
        arms = {arm: {"healthy": count, "known": count} for arm, count in self.healthy.items()}
        answer = {
            "run": None,
            "owner": None,
            "mirror": 0,
            **wanted,
            "replica": self.name,
            "arms": arms,
            "problem": None,
        }
        return web.json_response({name: value for name, value in answer.items() if name != "services"})


@dataclass
class Pods:
    """What is started, and the way to it."""

    double: KubernetesDouble
    api: client.ApiClient
    http: httpx.AsyncClient
    stack: AsyncExitStack
    started: int = 0

    async def pod(self, service: str, port: str, routes: list[web.RouteDef], **conditions: bool) -> None:
        """A pod behind a service."""
        self.started += 1
        address = f"127.0.0.{self.started + 1}"
        application = web.Application()
        application.add_routes(routes)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, address, 0)
        await site.start()
        assert site._server is not None
        number = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.double.put(
            "endpointslices",
            {
                "metadata": {
                    "name": f"{service}-{self.started}",
                    "namespace": NAMESPACE,
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4",
                "ports": [{"name": port, "port": number}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": True, **conditions}}],
            },
        )

    async def ranker(self, service: str, digest: str, **conditions: bool) -> None:
        async def models(_: web.Request) -> web.Response:
            return web.json_response({"models": ["mgoe"]})

        async def metadata(_: web.Request) -> web.Response:
            return web.json_response({"name": "mgoe", "properties": {"digest": digest}})

        routes = [web.get("/v2/models", models), web.get("/v2/models/mgoe", metadata)]
        await self.pod(service, "http1", routes, **conditions)

    async def agent(self, **conditions: bool) -> Agent:
        agent = Agent(self.double, f"gateway-{self.started}")
        await self.pod(
            "mgoe-gateway-agents",
            "agent",
            [web.get("/v1/split", agent.split), web.post("/v1/look", agent.look)],
            **conditions,
        )
        return agent

    def ownership(self, read: Stored | None = None, others: Others | None = None) -> Ownership:
        return Ownership(read or rollout(), others or Others())  # type: ignore[arg-type]


@asynccontextmanager
async def pods() -> AsyncIterator[Pods]:
    double = KubernetesDouble()
    async with double.served() as api, httpx.AsyncClient(trust_env=False) as http, AsyncExitStack() as stack:
        yield Pods(double, api, http, stack)


def lived(story: Any) -> None:
    """Run a test's story."""

    async def run() -> None:
        async with asyncio.timeout(30), pods() as started:
            await story(started)

    asyncio.run(run())
