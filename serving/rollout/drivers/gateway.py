"""The driver `gateway`: the Envoys of a cluster, by one ConfigMap (decision 12). The truth is what the agents tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from kubernetes import client

from model.errors import Fault, UserError
from serving.gateway.assignment import Arm, check_salt
from serving.gateway.desired import KEY, NOBODY, DesiredSplit, Services, parse_desired
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import Observation, StaleWriteError
from serving.rollout.drivers.endpoint_slices import EndpointSlices
from serving.rollout.drivers.gateway_replicas import Routed, routed, told_to_look
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.drivers.replicas import Floor, Replicas
from serving.rollout.drivers.served_digests import ServedDigests
from serving.rollout.facts import ArmFacts, RouterFacts
from serving.rollout.judgement import Naming
from serving.rollout.kubernetes_store import TIMEOUT_S, asked
from serving.rollout.store import ConflictError

POINTS = 100
"""Basis points of a percent."""
AGENT_PORT = "agent"
RANKER_PORT = "http"
TRIES = 4
"""Of a write that others' writes get in the way of."""
AGREE_S = 1.0
"""After a write, so long is waited for the replicas; the next look sees the rest."""
POLL_S = 0.05


@dataclass(frozen=True)
class GatewayDriver:
    """One rollout at one gateway of its namespace."""

    api: client.ApiClient
    http: httpx.AsyncClient
    namespace: str
    gateway: str
    services: Mapping[Arm, str]
    naming: Naming
    ownership: Ownership

    @property
    def assignment(self) -> Literal["Unit", "Request"]:
        """Users stay on their arm."""
        return "Unit"

    async def observe(self) -> Observation:
        """What the replicas route by, and the arms as their services and those replicas have them. Raises Fault."""
        found = await self._routed()
        router = await self._router(found)
        baseline, candidate = await asyncio.gather(
            self._arm("baseline", found, router), self._arm("candidate", found, router)
        )
        return Observation(baseline, candidate, router, self._problems())

    async def _routed(self) -> Routed:
        slices = EndpointSlices(self.api, self.namespace)
        return await routed(self.http, await slices.of(f"{self.gateway}-agents", AGENT_PORT))

    async def _router(self, found: Routed) -> RouterFacts:
        told = found.agreed
        if told is None:
            return RouterFacts()
        nobody = told.experiment == NOBODY
        return RouterFacts(
            weight=None if told.weight % POINTS else told.weight // POINTS,
            stratum=told.stratum,
            run=None if nobody else told.run,
            owner="nobody" if nobody else await self.ownership.of(told.owner),
        )

    async def _arm(self, arm: Arm, found: Routed, router: RouterFacts) -> ArmFacts:
        """Ready is what the service has and, once the gateway routes to it, what every Envoy finds healthy."""
        slices = EndpointSlices(self.api, self.namespace)
        endpoints = [each for each in await slices.of(self.services[arm], RANKER_PORT) if each.ready]
        ready = len(endpoints)
        if router.owner == "self":
            seen = found.healthy(arm)
            ready = ready if seen is None else min(ready, seen)
        serving = await ServedDigests(self.http).of([each.url for each in endpoints], len(endpoints))
        floor = await self._floor(arm)
        if floor is None:
            return ArmFacts(ready=ready, serving=serving)
        return ArmFacts(ready=ready, floor=floor.present, serving=serving, lowest=floor.lowest)

    async def _floor(self, arm: Arm) -> Floor | None:
        """Of the Deployment that is called as the service (KServe does so); None: there is none, or it may not be
        scaled, and is then not ours to set."""
        try:
            return await Replicas(self.api, self.namespace).floor(self.services[arm])
        except Fault:
            return None

    def _problems(self) -> tuple[str, ...]:
        try:
            check_salt(self.naming.salt)
        except UserError as error:
            return (str(error),)
        return ()

    async def set_weights(self, wanted: SetWeights) -> None:
        """Replace the ConfigMap's split on the version that was read; then have the replicas look at it, and wait a
        moment for them."""
        for _ in range(TRIES):
            try:
                await self._replace(self._desired(wanted))
                break
            except ConflictError:
                continue
        else:
            raise Fault(f"ConfigMap {self.gateway}: {TRIES} writes of stratum {wanted.stratum} met others' writes")
        # It is written, whatever the replicas say: the next look asks them again.
        with contextlib.suppress(Fault, TimeoutError):
            async with asyncio.timeout(AGREE_S):
                slices = EndpointSlices(self.api, self.namespace)
                await told_to_look(self.http, await slices.of(f"{self.gateway}-agents", AGENT_PORT))
                while (await self._routed()).agreed is None:
                    await asyncio.sleep(POLL_S)

    async def _replace(self, desired: DesiredSplit) -> None:
        core = client.CoreV1Api(self.api)
        what = f"ConfigMap {self.gateway} in {self.namespace}"
        found = await asked(
            lambda: core.read_namespaced_config_map(self.gateway, self.namespace, _request_timeout=TIMEOUT_S),
            what,
            absent=None,
        )
        if found is None:
            raise Fault(f"{what}: there is none; the chart makes it (gateway.enabled)")
        document: dict[str, Any] = self.api.sanitize_for_serialization(found)
        present = _present(document, what)
        if present == desired:
            return
        await self._check(present, desired)
        document["data"] = {**(document.get("data") or {}), KEY: desired.model_dump_json(indent=1)}
        await asked(
            lambda: core.replace_namespaced_config_map(
                self.gateway, self.namespace, document, _request_timeout=TIMEOUT_S
            ),
            what,
        )

    async def _check(self, present: DesiredSplit | None, desired: DesiredSplit) -> None:
        """Raises StaleWriteError where the ConfigMap has a later stratum, Fault where it is another rollout's."""
        if present is None:
            return
        owner = await self.ownership.of(present.owner)
        if owner == "other":
            raise Fault(f"gateway {self.gateway} belongs to {present.owner}, which is still going on")
        if owner == "self" and present.stratum >= desired.stratum:
            raise StaleWriteError(
                f"stratum {desired.stratum} is not written: gateway {self.gateway} has stratum {present.stratum}"
            )

    def _desired(self, wanted: SetWeights) -> DesiredSplit:
        return DesiredSplit(
            experiment=self.naming.experiment(wanted.run),
            salt=self.naming.salt,
            stratum=wanted.stratum,
            weight=wanted.candidate * POINTS,
            services=Services(baseline=self.services["baseline"], candidate=self.services["candidate"]),
            run=wanted.run,
            owner=self.ownership.name,
        )

    async def scale(self, wanted: Scale) -> None:
        """Least replicas of the Deployment that is called as the arm's service."""
        await Replicas(self.api, self.namespace).set_floor(self.services[wanted.arm], wanted.replicas)


def _present(document: Mapping[str, Any], what: str) -> DesiredSplit | None:
    """The split that is wanted now; one that cannot be read is replaced, as the agents do not take it either."""
    text = (document.get("data") or {}).get(KEY)
    if text is None:
        return None
    try:
        return parse_desired(text, what)
    except UserError:
        return None
