"""An InferenceService as both KServe drivers read and write it: one server-side apply on the version that was read.

KServe copies annotations and labels of an InferenceService to its pods: a number in one of them would start new pods
with every weight. So stratum, run and owner are in the name of the field manager, which the API server keeps beside the
very fields that were written (metadata.managedFields), in the same write. Whoever else writes these fields takes them
over, and the weights are then nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from model.errors import Fault
from serving.rollout.actions import SetWeights
from serving.rollout.driver import StaleWriteError
from serving.rollout.drivers.ownership import Owner, Ownership
from serving.rollout.kubernetes_store import TIMEOUT_S, asked
from serving.rollout.store import ConflictError

KSERVE = "serving.kserve.io"
KSERVE_VERSION = "v1beta1"
SERVICES = "inferenceservices"
MANAGER = "mgoe"
TRIES = 4

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """What the last write of the weights was called."""

    stratum: int | None = None
    run: str | None = None
    rollout: str | None = None
    """Name and uid of the rollout, as NAME/UID."""


def manager_of(wanted: SetWeights, owner: str) -> str:
    """The field manager of a write; owner: NAMESPACE/NAME/UID. At most 128 characters, as the API server has it."""
    _, name, uid = owner.split("/")
    return f"{MANAGER}/{wanted.stratum}/{wanted.run}/{name}/{uid}"


def written_in(document: Document) -> Written:
    """The latest of our managers that still has the fields it wrote."""
    found = []
    for entry in document["metadata"].get("managedFields") or ():
        parts = str(entry.get("manager", "")).split("/")
        if entry.get("operation") == "Apply" and len(parts) == 5 and parts[0] == MANAGER and parts[1].isdecimal():
            found.append(Written(int(parts[1]), parts[2], f"{parts[3]}/{parts[4]}"))
    return max(found, key=lambda each: each.stratum or 0, default=Written())


def settled(document: Document) -> bool:
    """Whether KServe's status is about the present spec."""
    seen = (document.get("status") or {}).get("observedGeneration")
    return seen is None or int(seen) >= int(document["metadata"].get("generation", 0))


class InferenceService:
    """One InferenceService, for one rollout."""

    def __init__(self, api: client.ApiClient, namespace: str, name: str, ownership: Ownership) -> None:
        self._api = api
        self._objects = client.CustomObjectsApi(api)
        self._namespace = namespace
        self._ownership = ownership
        self.name = name

    @property
    def _what(self) -> str:
        return f"InferenceService {self.name} in {self._namespace}"

    async def read(self) -> Document:
        """As it is. Raises Fault, also where there is none."""
        found: Document | None = await asked(
            lambda: self._objects.get_namespaced_custom_object(
                KSERVE, KSERVE_VERSION, self._namespace, SERVICES, self.name, _request_timeout=TIMEOUT_S
            ),
            self._what,
            absent=None,
        )
        if found is None:
            raise Fault(f"{self._what}: there is none")
        return found

    async def write(
        self,
        wanted: SetWeights,
        problems_of: Callable[[Document], tuple[str, ...]],
        change: Callable[[Document], Document],
    ) -> None:
        """Weights and their number in one patch. change: from what was read to the patch of `spec`. problems_of: what
        KServe would choke on, with which no weight but 0 is written. Raises StaleWriteError, Fault."""
        for _ in range(TRIES):
            document = await self.read()
            patch = change(document)
            await self._check(document, wanted, patch)
            problems = problems_of(document) if wanted.candidate > 0 else ()
            if problems:
                raise Fault(f"InferenceService {self.name}: {'; '.join(problems)}")
            try:
                await self._apply(document, patch, manager_of(wanted, self._ownership.name))
            except ConflictError:
                continue
            return
        raise Fault(f"{self._what}: {TRIES} writes of stratum {wanted.stratum} met others' writes")

    async def scale(self, change: Callable[[Document], Document]) -> None:
        """Another part of the spec, by a merge patch; weights keep their manager. Raises Fault."""
        document = await self.read()
        body = {"spec": change(document), "metadata": {"resourceVersion": document["metadata"]["resourceVersion"]}}
        await asked(
            lambda: self._objects.patch_namespaced_custom_object(
                KSERVE, KSERVE_VERSION, self._namespace, SERVICES, self.name, body, _request_timeout=TIMEOUT_S
            ),
            self._what,
        )

    async def owner(self, found: Written) -> Owner:
        """Who wrote the weights."""
        return await self._ownership.of(None if found.rollout is None else f"{self._namespace}/{found.rollout}")

    async def _check(self, document: Document, wanted: SetWeights, patch: Document) -> None:
        """Raises StaleWriteError where a later stratum is there, or this one with other weights or of another run;
        Fault where it is another rollout's."""
        found = written_in(document)
        owner = await self.owner(found)
        if owner == "other":
            raise Fault(f"{self._what} belongs to rollout {found.rollout}, which is still going on")
        if owner != "self" or found.stratum is None or found.stratum < wanted.stratum:
            return
        if found.stratum > wanted.stratum:
            raise StaleWriteError(f"stratum {wanted.stratum} is not written: {self._what} has stratum {found.stratum}")
        if found.run != wanted.run or not _has(document.get("spec") or {}, patch):
            raise StaleWriteError(
                f"stratum {wanted.stratum} with {wanted.candidate} % of run {wanted.run} is not written: "
                f"{self._what} has that stratum with other weights or of another run ({found.run})"
            )

    async def _apply(self, document: Document, spec: Document, manager: str) -> None:
        body = {
            "apiVersion": f"{KSERVE}/{KSERVE_VERSION}",
            "kind": "InferenceService",
            "metadata": {"name": self.name, "resourceVersion": document["metadata"]["resourceVersion"]},
            "spec": spec,
        }
        path = f"/apis/{KSERVE}/{KSERVE_VERSION}/namespaces/{self._namespace}/{SERVICES}/{self.name}"
        await asked(
            # The typed client has no server-side apply of custom objects in this version.
            lambda: self._api.call_api(
                path,
                "PATCH",
                query_params=[("fieldManager", manager), ("force", "true")],
                header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                response_type="object",
                _request_timeout=TIMEOUT_S,
            ),
            self._what,
        )


def _has(present: Any, patch: Any) -> bool:
    """Whether a server-side apply of this patch would change nothing; lists are atomic."""
    if isinstance(present, Mapping) and isinstance(patch, Mapping):
        return all(name in present and _has(present[name], value) for name, value in patch.items())
    return bool(present == patch)
