"""Jobs of one kind in a Kubernetes API server: start or find one, wait for its end, take it away."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.rest import ApiException
from urllib3.exceptions import HTTPError

from components.train.job import JobKind, Resource, Seen
from model.errors import Fault, MgoeError, UserError

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
ANSWER_SECONDS = (5.0, 30.0)
"""To connect, and for an answer."""


@dataclass(frozen=True)
class Patience:
    """poll_s: between looks at a job. down_s: how long an API server may be away. gone_s: for a job to go away."""

    poll_s: float = 5.0
    down_s: float = 300.0
    gone_s: float = 120.0


class ServerAwayError(Fault):
    """The API server does not answer, or not with sense: that may pass."""


class GoneError(Fault):
    """The job is not there any more."""


class ClusterJobs:
    """Raises UserError where the server refuses, Fault where it does not answer or a job fails."""

    def __init__(self, kind: JobKind, api: Any, namespace: str, patience: Patience | None = None) -> None:
        self._kind = kind
        self._api = api
        self._namespace = namespace
        self._patience = patience or Patience()

    @classmethod
    def here(cls, kind: JobKind) -> ClusterJobs:
        """In the namespace and with the service account of this pod; outside a cluster, those of the kubeconfig."""
        try:
            config.load_incluster_config()
            namespace = NAMESPACE_FILE.read_text(encoding="utf-8").strip()
        except (config.ConfigException, OSError):
            try:
                config.load_kube_config()
                _, active = config.list_kube_config_contexts()
            except config.ConfigException as error:
                raise UserError(f"a {kind.kind} needs a cluster, and none is configured: {_first(error)}") from None
            namespace = active["context"].get("namespace", "default")
        settings = client.Configuration.get_default_copy()
        settings.retries = False  # waiting is ours: the client's own would hang for minutes on a server that is down
        return cls(kind, client.CustomObjectsApi(client.ApiClient(settings)), namespace)

    def start(self, job: Resource) -> None:
        """Creates `job`, or goes on with the one of its name: the same work, begun by a step that was killed.

        One that has failed is taken away first, one that is going away is seen off.
        """
        name = job["metadata"]["name"]
        body = {**job, "metadata": {**job["metadata"], "ownerReferences": _owners()}}
        there = self._get(name)
        if there is not None and self._is_spent(there):
            self.delete(name)
            self._wait_until_gone(name)
            there = None
        if there is None:
            with self._plain("create"):
                self._api.create_namespaced_custom_object(*self._place(), body, _request_timeout=ANSWER_SECONDS)
        elif body["metadata"]["ownerReferences"]:
            owners = [*there["metadata"].get("ownerReferences", ()), *_owners()]
            unique = {owner["uid"]: owner for owner in owners}
            with self._plain("patch"):
                patch = {"metadata": {"ownerReferences": list(unique.values())}}
                self._api.patch_namespaced_custom_object(*self._place(), name, patch, _request_timeout=ANSWER_SECONDS)

    def wait(self, name: str, say: Callable[[str], None], deadline_s: float = math.inf) -> None:
        """Returns when the job has succeeded; says where it stands when that changes.

        Raises Fault: it failed, it has not ended by the deadline (no operator looked at it, say), or the server is away
        for long. Raises GoneError where somebody deleted it.
        """
        state = ""
        end = time.monotonic() + deadline_s
        for seen in self._looks(name):
            if seen.state != state:
                state = seen.state
                say(f"{self._kind.kind} {name}: {state}")
            if seen.ended == "succeeded":
                return
            if seen.ended == "failed":
                raise Fault(
                    f"{self._kind.kind} {name} failed: {seen.message or state}; the logs of its pods say more, and the"
                    " next attempt goes on from the last checkpoint"
                )
            if time.monotonic() > end:
                raise Fault(f"{self._kind.kind} {name} has not ended within {deadline_s:g} s ({state}); is there room?")
        raise GoneError(f"{self._kind.kind} {name} was deleted while its step waited for it")

    def delete(self, name: str) -> None:
        """Takes the job and its pods away; nothing where there is none."""
        with self._plain("delete"):
            try:
                self._api.delete_namespaced_custom_object(
                    *self._place(), name, propagation_policy="Background", _request_timeout=ANSWER_SECONDS
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    def _looks(self, name: str) -> Iterator[Seen]:
        """What is seen at each look, until the job is not there any more, or about to go."""
        answered = time.monotonic()
        while True:
            try:
                found = self._get(name)
                answered = time.monotonic()
            except ServerAwayError:
                if time.monotonic() - answered > self._patience.down_s:
                    raise
            else:
                if found is None or _is_going(found):
                    return
                yield self._kind.seen(found.get("status") or {})
            time.sleep(self._patience.poll_s)

    def _is_spent(self, job: Resource) -> bool:
        """Whether nothing will come of the job any more."""
        return _is_going(job) or self._kind.seen(job.get("status") or {}).ended == "failed"

    def _wait_until_gone(self, name: str) -> None:
        end = time.monotonic() + self._patience.gone_s
        while self._get(name) is not None:
            if time.monotonic() > end:
                raise Fault(f"{self._kind.kind} {name} of an earlier attempt does not go away; delete it")
            time.sleep(min(self._patience.poll_s, 1.0))

    def _get(self, name: str) -> Resource | None:
        with self._plain("get"):
            try:
                found: Resource = self._api.get_namespaced_custom_object(
                    *self._place(), name, _request_timeout=ANSWER_SECONDS
                )
            except ApiException as error:
                if error.status == 404 and _fields(error).get("kind") == "Status":
                    return None  # of a kind that it does not know, a server says "404 page not found"
                raise
        return found

    def _place(self) -> tuple[str, str, str, str]:
        return self._kind.group, self._kind.version, self._namespace, self._kind.plural

    @contextmanager
    def _plain(self, verb: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            raise self._explain(verb, error) from None
        except HTTPError as error:
            raise ServerAwayError(f"the cluster's API server does not answer: {_first(error)}") from None

    def _explain(self, verb: str, error: ApiException) -> MgoeError:
        what = f"{self._kind.plural}.{self._kind.group}"
        if error.status in {401, 403}:
            return UserError(
                f"this step may not {verb} {what} in namespace {self._namespace}: bind the Role mgoe-training-jobs"
                " (manifests/training) to the run's service account"
            )
        if error.status == 404:
            return UserError(f"the cluster has no {what}: install {self._kind.needs}, or train in the step's own pod")
        if error.status is not None and 400 <= error.status < 500 and error.status not in {409, 429}:
            return UserError(f"the cluster refuses the {self._kind.kind} ({error.status}): {_message(error)}")
        return ServerAwayError(f"the cluster's API server failed ({error.status}): {_message(error)}")


def _is_going(job: Resource) -> bool:
    """Whether it was deleted and only its finalizers are waited for."""
    return job["metadata"].get("deletionTimestamp") is not None


def _owners() -> list[Resource]:
    """This pod as the owner, where it knows itself: what it started goes with it."""
    name, uid = os.environ.get("POD_NAME"), os.environ.get("POD_UID")
    return [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}] if name and uid else []


def _message(error: ApiException) -> str:
    return _first(_fields(error).get("message") or error.body or error.reason)


def _fields(error: ApiException) -> dict[str, Any]:
    """The Status that Kubernetes answers with; empty where the answer is none."""
    try:
        fields = json.loads(str(error.body))
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _first(text: object) -> str:
    return str(text).strip().partition("\n")[0]
