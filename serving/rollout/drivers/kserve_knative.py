"""The driver `kserve-knative`: `canaryTrafficPercent` of an InferenceService in Knative mode. Requests are split.

The candidate is the latest ready revision, the baseline the one that was rolled out before it. The truth is the traffic
in `status.components.predictor`, which KServe copies from Knative's route (ksvc_reconciler.go of KServe 0.20).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from kubernetes import client

from model.errors import Fault
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import Observation
from serving.rollout.drivers.endpoint_slices import EndpointSlices
from serving.rollout.drivers.inference_service import Document, InferenceService, settled, written_in
from serving.rollout.drivers.served_digests import ServedDigests
from serving.rollout.facts import ArmFacts, RouterFacts

PORT = "http"


@dataclass(frozen=True)
class Revisions:
    """The two revisions between which traffic is split, and what the candidate has of it."""

    baseline: str | None
    candidate: str | None
    percent: int | None
    """None: the status is of an older spec, or tells of other revisions."""


def revisions_of(document: Document) -> Revisions:
    """Read off the status of the predictor. Pure."""
    told: Mapping[str, Any] = ((document.get("status") or {}).get("components") or {}).get("predictor") or {}
    candidate, rolled_out = told.get("latestReadyRevision"), told.get("latestRolledoutRevision")
    baseline = told.get("previousRolledoutRevision") if rolled_out == candidate else rolled_out
    shares: dict[str, int] = {}
    for target in told.get("traffic") or ():
        name = candidate if target.get("latestRevision") else target.get("revisionName")
        shares[str(name)] = shares.get(str(name), 0) + int(target.get("percent") or 0)
    known = set(shares) <= {str(baseline), str(candidate)} and sum(shares.values()) == 100
    current = settled(document) and told.get("latestCreatedRevision") == candidate
    return Revisions(baseline, candidate, shares.get(str(candidate), 0) if known and current else None)


def problems_of(document: Document) -> tuple[str, ...]:
    """Why this InferenceService cannot be split, in words. Pure."""
    predictor: Mapping[str, Any] = (document.get("spec") or {}).get("predictor") or {}
    found = []
    if (document.get("spec") or {}).get("canary"):
        found.append("spec.canary is of the Standard mode; in Knative mode the latest revision is the candidate")
    least = predictor.get("minReplicas", 1)
    if least < 1:
        found.append(f"spec.predictor.minReplicas is {least}: an arm scaled to zero cannot be told from a lost one")
    revisions = revisions_of(document)
    if revisions.candidate is None:
        found.append("no revision is ready yet")
    if revisions.baseline is None or revisions.baseline == revisions.candidate:
        found.append("there is one revision alone: the baseline must have been rolled out before the candidate came")
    return tuple(found)


@dataclass(frozen=True)
class KServeKnativeDriver:
    """One rollout at one InferenceService."""

    api: client.ApiClient
    http: httpx.AsyncClient
    namespace: str
    service: InferenceService

    @property
    def assignment(self) -> Literal["Unit", "Request"]:
        """Knative deals requests."""
        return "Request"

    async def observe(self) -> Observation:
        """KServe's status, the pods of both revisions, and what they serve. Raises Fault."""
        document = await self.service.read()
        notes, revisions = written_in(document), revisions_of(document)
        owner = await self.service.owner(notes)
        router = RouterFacts(weight=revisions.percent, stratum=notes.stratum, run=notes.run, owner=owner)
        problems = problems_of(document)
        if problems:
            return Observation(router=router, problems=problems)
        baseline, candidate = await asyncio.gather(self._arm(revisions.baseline), self._arm(revisions.candidate))
        return Observation(baseline, candidate, router)

    async def _arm(self, revision: str | None) -> ArmFacts:
        # Behind the public service of a revision may stand Knative's activator; behind this one are the pods.
        found = await EndpointSlices(self.api, self.namespace).of(f"{revision}-private", PORT)
        ready = [each.url for each in found if each.ready]
        # No floor: a revision's scale is fixed when it is made.
        return ArmFacts(ready=len(ready), serving=await ServedDigests(self.http).of(ready, len(ready)))

    async def set_weights(self, wanted: SetWeights) -> None:
        """The percent of the latest revision, with its number, in one patch of the version that was read."""

        def change(document: Document) -> Document:
            return {"predictor": {"canaryTrafficPercent": wanted.candidate}}

        await self.service.write(wanted, problems_of, change)

    async def scale(self, wanted: Scale) -> None:
        """Never asked, since no floor is told: another scale would be another revision. Raises Fault."""
        raise Fault(f"a revision's scale is fixed; {wanted.replicas} of the {wanted.arm} were asked for")
