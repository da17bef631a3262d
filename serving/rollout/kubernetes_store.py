"""Rollouts in the Kubernetes API. Every write carries the resourceVersion that was read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from model.errors import Fault
from serving.rollout.resource import GROUP, KIND, PLURAL, VERSION
from serving.rollout.state import Transition
from serving.rollout.store import FINALIZER, ConflictError, Key, Stored

TIMEOUT_S: int = 5
"""Of one request, connection and answer together; a rollback has ten seconds for everything. A whole number: the client
waits for ever where it is given another. Not above the Lease's margin (LeaseSettings)."""
COMPONENT = "mgoe-rollout"

Document = Mapping[str, Any]


class ExistsError(ConflictError):
    """An object of that name is there already."""


class KubernetesStore:
    """The store of a cluster. The client is synchronous: its calls run in threads."""

    def __init__(self, api: client.ApiClient, namespace: str | None = None) -> None:
        """namespace: the only one to look at; None: all."""
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace

    async def get(self, key: Key) -> Stored | None:
        """The present version; no resourceVersion is asked for, so the API server reads from etcd."""
        found: Document | None = await asked(
            lambda: self._objects.get_namespaced_custom_object(
                GROUP, VERSION, key.namespace, PLURAL, key.name, _request_timeout=TIMEOUT_S
            ),
            f"ModelRollout {key}",
            absent=None,
        )
        return None if found is None else stored(found)

    async def keys(self) -> tuple[Key, ...]:
        """All rollouts, or those of the namespace."""

        def listed() -> Any:
            if self._namespace is None:
                return self._objects.list_cluster_custom_object(GROUP, VERSION, PLURAL, _request_timeout=TIMEOUT_S)
            return self._objects.list_namespaced_custom_object(
                GROUP, VERSION, self._namespace, PLURAL, _request_timeout=TIMEOUT_S
            )

        found: Document = await asked(listed, "ModelRollouts")
        return tuple(Key(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found["items"])

    async def write_status(self, read: Stored, status: Mapping[str, Any]) -> Stored:
        """Replace the status subresource. Raises ConflictError."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {
                "name": read.key.name,
                "namespace": read.key.namespace,
                "uid": read.uid,
                "resourceVersion": read.version,
            },
            "spec": dict(read.spec),
            "status": dict(status),
        }
        written: Document = await asked(
            lambda: self._objects.replace_namespaced_custom_object_status(
                GROUP, VERSION, read.key.namespace, PLURAL, read.key.name, body, _request_timeout=TIMEOUT_S
            ),
            f"status of ModelRollout {read.key}",
        )
        return stored(written)

    async def hold(self, read: Stored) -> Stored:
        """Add our finalizer. Raises ConflictError."""
        return await self._finalizers(read, (*read.finalizers, FINALIZER))

    async def release(self, read: Stored) -> None:
        """Take our finalizer away. Raises ConflictError."""
        await self._finalizers(read, tuple(each for each in read.finalizers if each != FINALIZER))

    async def _finalizers(self, read: Stored, wanted: tuple[str, ...]) -> Stored:
        # A merge patch; the version in it makes the API server compare it.
        patch = {"metadata": {"resourceVersion": read.version, "finalizers": list(wanted)}}
        written: Document = await asked(
            lambda: self._objects.patch_namespaced_custom_object(
                GROUP, VERSION, read.key.namespace, PLURAL, read.key.name, patch, _request_timeout=TIMEOUT_S
            ),
            f"finalizer of ModelRollout {read.key}",
        )
        return stored(written)

    async def announce(self, read: Stored, transition: Transition, warning: bool) -> None:
        """One Event, named by the transition's number: a second one of that name is refused, and that is well."""
        event = _event(read, transition, warning)
        try:
            await asked(
                lambda: self._core.create_namespaced_event(read.key.namespace, event, _request_timeout=TIMEOUT_S),
                f"Event of ModelRollout {read.key}",
            )
        except ExistsError:
            return


def _event(read: Stored, transition: Transition, warning: bool) -> Document:
    at = datetime.fromtimestamp(transition.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{read.key.name}.{read.uid[:8]}.{transition.seq}",
            "namespace": read.key.namespace,
        },
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": read.key.name,
            "namespace": read.key.namespace,
            "uid": read.uid,
        },
        "type": "Warning" if warning else "Normal",
        "reason": transition.reason,
        "message": transition.message,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "source": {"component": COMPONENT},
    }


def stored(document: Document) -> Stored:
    """A rollout of the API's object."""
    metadata = document["metadata"]
    deleted = metadata.get("deletionTimestamp")
    return Stored(
        key=Key(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=int(metadata.get("generation", 0)),
        spec=document.get("spec") or {},
        status=document.get("status") or {},
        deleted_at=None if deleted is None else datetime.fromisoformat(deleted).timestamp(),
        finalizers=tuple(metadata.get("finalizers") or ()),
    )


_RAISE = object()


async def asked(call: Callable[[], Any], what: str, absent: Any = _RAISE, threads: Executor | None = None) -> Any:
    """The answer of a blocking call; absent: what a 404 means; threads: not asyncio's. Raises ConflictError, Fault."""
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, call)
    except ApiException as error:
        if error.status == 404 and absent is not _RAISE:
            return absent
        if error.status == 409 and _reason(error) == "AlreadyExists":
            raise ExistsError(f"{what}: there is one already") from error
        if error.status in {404, 409}:  # gone, or changed: either way, read again
            raise ConflictError(f"{what}: {error.reason}") from error
        raise Fault(f"{what}: the API server answers {error.status} {error.reason}") from error
    except (HTTPError, OSError) as error:
        raise Fault(f"{what}: the API server does not answer: {error}") from error


def _reason(error: ApiException) -> str | None:
    """The reason in the API server's Status; a 409 is a conflict of versions or of names."""
    try:
        found = json.loads(error.body or "{}")
    except ValueError:
        return None
    return found.get("reason") if isinstance(found, dict) else None
