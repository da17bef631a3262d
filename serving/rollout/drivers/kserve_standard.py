"""The driver `kserve-standard`: `spec.canary[]` of an InferenceService in Standard mode. Requests are split, not units.

The API server takes canaries that KServe's webhook refuses and its controller chokes on (the webhook may be away), so
the driver checks for itself. Rules and names as in KServe 0.20: inference_service_validation.go (validateCanarySpecs),
httproute_reconciler.go (applyCanaryWeights), constants.PredictorServiceName.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from kubernetes import client

from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import Observation
from serving.rollout.drivers.endpoint_slices import EndpointSlices
from serving.rollout.drivers.inference_service import Document, InferenceService, settled, written_in
from serving.rollout.drivers.served_digests import ServedDigests
from serving.rollout.facts import ArmFacts, RouterFacts

MODE = "serving.kserve.io/deploymentMode"
PORT = "http"
FORBIDDEN = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec")
"""Fields that a canary must not have: its replicas are fixed."""


def predictor_service(inference_service: str, predictor: str | None) -> str:
    """Name of a predictor's Service and Deployment."""
    return f"{inference_service}-{predictor}-predictor" if predictor else f"{inference_service}-predictor"


def problems_of(document: Document) -> tuple[str, ...]:
    """Why this InferenceService cannot be split in two, in words. Pure."""
    spec, found = document.get("spec") or {}, []
    mode = (document["metadata"].get("annotations") or {}).get(MODE)
    if mode != "Standard":
        found.append(f"annotation {MODE} is {mode!r}; a canary needs 'Standard'")
    canaries = spec.get("canary") or []
    if len(canaries) != 1:
        found.append(f"spec.canary has {len(canaries)} entries; one is the candidate")
    stable = spec.get("predictor") or {}
    if not any(isinstance(value, Mapping) for value in stable.values()):
        found.append("spec.predictor has no model")
    for canary in canaries:
        found += _canary_problems(canary, stable)
    return tuple(found)


def _canary_problems(canary: Mapping[str, Any], stable: Mapping[str, Any]) -> list[str]:
    predictor = canary.get("predictor") or {}
    name, found = predictor.get("name"), []
    if not name:
        found.append("spec.canary[0].predictor.name is missing: its Deployment is called by it")
    elif name == stable.get("name"):
        found.append(f"spec.canary[0].predictor.name {name!r} is the stable predictor's name too")
    found += [f"spec.canary[0].predictor.{field} must not be set" for field in FORBIDDEN if predictor.get(field)]
    if not isinstance(predictor.get("model"), Mapping):
        found.append("spec.canary[0].predictor.model is missing")
    least, most = predictor.get("minReplicas"), stable.get("minReplicas", 1)
    if least is not None and least > most:
        found.append(f"spec.canary[0].predictor.minReplicas {least} is above the stable predictor's {most}")
    percent = canary.get("trafficPercent")
    if not isinstance(percent, int) or not 0 <= percent <= 100:
        found.append(f"spec.canary[0].trafficPercent is {percent!r}; write 0 to 100")
    return found


def routed_percent(document: Document) -> int | None:
    """What KServe's route gives the canary: nothing while it is not ready. None: the status is of an older spec."""
    if not settled(document):
        return None
    name = document["spec"]["canary"][0]["predictor"].get("name")
    for each in (document.get("status") or {}).get("canaryStatuses") or ():
        if each.get("name") == name:
            return int(each.get("trafficPercent", 0)) if each.get("ready") else 0
    return None


@dataclass(frozen=True)
class KServeStandardDriver:
    """One rollout at one InferenceService: the stable predictor is the baseline, the one canary the candidate."""

    api: client.ApiClient
    http: httpx.AsyncClient
    namespace: str
    service: InferenceService

    @property
    def assignment(self) -> Literal["Unit", "Request"]:
        """KServe deals requests."""
        return "Request"

    async def observe(self) -> Observation:
        """KServe's status, the pods of both predictors, and what they serve. Raises Fault."""
        document = await self.service.read()
        problems = problems_of(document)
        if problems:
            return Observation(problems=problems)
        spec, notes = document["spec"], written_in(document)
        baseline, candidate = await asyncio.gather(
            self._arm(spec["predictor"]), self._arm(spec["canary"][0]["predictor"])
        )
        router = RouterFacts(
            weight=routed_percent(document),
            stratum=notes.stratum,
            run=notes.run,
            owner=await self.service.owner(notes),
        )
        return Observation(baseline, candidate, router)

    async def _arm(self, predictor: Mapping[str, Any]) -> ArmFacts:
        service = predictor_service(self.service.name, predictor.get("name"))
        found = await EndpointSlices(self.api, self.namespace).of(service, PORT)
        ready = [each.url for each in found if each.ready]
        serving = await ServedDigests(self.http).of(ready, len(ready))
        return ArmFacts(ready=len(ready), floor=predictor.get("minReplicas"), serving=serving)

    async def set_weights(self, wanted: SetWeights) -> None:
        """The canary's percent, with its number, in one patch of the version that was read."""

        def change(document: Document) -> Document:
            canaries = document["spec"].get("canary") or []
            # The list is replaced whole: that is how KServe declares it (listType atomic).
            return {"canary": [{**each, "trafficPercent": wanted.candidate} for each in canaries[:1]] + canaries[1:]}

        await self.service.write(wanted, problems_of, change)

    async def scale(self, wanted: Scale) -> None:
        """Least replicas of a predictor; a canary's are fixed and at most the stable one's."""

        def change(document: Document) -> Document:
            if wanted.arm == "baseline":
                return {"predictor": {"minReplicas": wanted.replicas}}
            [canary] = document["spec"]["canary"]
            least = min(wanted.replicas, document["spec"]["predictor"].get("minReplicas", 1))
            return {"canary": [{**canary, "predictor": {**canary["predictor"], "minReplicas": least}}]}

        await self.service.scale(change)
