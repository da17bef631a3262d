"""Where people write their wishes: the local store, or a cluster, by the rights of the person."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from model.errors import Fault, UserError
from serving.rollout.cluster_client import cause
from serving.rollout.kubernetes_store import TIMEOUT_S, stored
from serving.rollout.resource import GROUP, KIND, PLURAL, VERSION
from serving.rollout.sqlite_store import checked
from serving.rollout.state import Transition
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.store import Stored

TRIES = 5


class Desk(Protocol):
    """What a person may do. Every refusal is a UserError of one line, and nothing is written then."""

    @property
    def place(self) -> str:
        """Whose rollouts these are, in a few words."""

    def attended(self) -> bool | None:
        """Whether a controller is there to look at them; None: not known from here."""

    def names(self) -> tuple[str, ...]:
        """All rollouts."""

    def all(self) -> tuple[Stored, ...]:
        """All of them by name, in one reading."""

    def read(self, name: str) -> Stored:
        """The rollout of that name."""

    def create(self, name: str, spec: Mapping[str, Any]) -> Stored:
        """A new rollout."""

    def edit(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Stored:
        """Change a spec."""

    def delete(self, name: str) -> None:
        """Wish a rollout away."""

    def events(self, name: str) -> tuple[Transition, ...]:
        """Its transitions, oldest first."""


class ClusterDesk:
    """The API server. Its own rules judge; ours only come first, because they know better words."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace)}/{PLURAL}"

    @property
    def place(self) -> str:
        """The namespace."""
        return f"namespace {self._namespace}"

    def attended(self) -> bool | None:
        """An operator may lead from any namespace."""
        return None

    def names(self) -> tuple[str, ...]:
        """All rollouts of the namespace."""
        return tuple(each.key.name for each in self.all())

    def all(self) -> tuple[Stored, ...]:
        """All of them by name, in one reading."""
        items = map(stored, self._ask("GET", self._path)["items"])
        return tuple(sorted(items, key=lambda each: each.key.name))

    def read(self, name: str) -> Stored:
        """The rollout of that name."""
        return stored(self._ask("GET", self._of(name)))

    def create(self, name: str, spec: Mapping[str, Any]) -> Stored:
        """A new rollout."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": name},
            "spec": checked(spec).to_json(),
        }
        return stored(self._ask("POST", self._path, body))

    def edit(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Stored:
        """Change a spec on the version that is read; made again where another write came between."""
        for _ in range(TRIES):
            read = self.read(name)
            spec = dict(change(dict(read.spec)))
            checked(spec)
            if spec == read.spec:
                return read
            gone = {field: None for field in read.spec if field not in spec}
            changed = {field: value for field, value in spec.items() if read.spec.get(field) != value}
            body = {"metadata": {"resourceVersion": read.version}, "spec": {**changed, **gone}}
            try:
                return stored(self._ask("PATCH", self._of(name), body))
            except _ConflictError:
                continue
        raise Fault(f"rollout {name!r}: {TRIES} writes met others' writes; try again")

    def delete(self, name: str) -> None:
        """Wish a rollout away."""
        self._ask("DELETE", self._of(name))

    def events(self, name: str) -> tuple[Transition, ...]:
        """The latest transitions, which the status keeps."""
        return ModelRolloutStatus.model_validate(self.read(name).status or {}).history

    def _of(self, name: str) -> str:
        return f"{self._path}/{quote(name)}"

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            answer, _, _ = self._api.call_api(
                path,
                method,
                header_params={"Content-Type": kind, "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                response_type="object",
                _request_timeout=TIMEOUT_S,
            )
        except ApiException as error:
            raise self._refusal(error, path) from None
        except (HTTPError, OSError) as error:
            raise Fault(f"the API server {self._api.configuration.host} does not answer: {cause(error)}") from None
        return answer

    def _refusal(self, error: ApiException, path: str) -> Exception:
        told = _message(error)
        if error.status == 404:
            what = path.removeprefix(self._path).strip("/")
            missing = f"no rollout {what!r}" if what else f"the cluster knows no {PLURAL}.{GROUP}: install the chart"
            return UserError(f"namespace {self._namespace}: {missing}")
        if error.status == 409 and "exists" not in told:
            return _ConflictError(told)
        if error.status in {400, 403, 409, 422}:
            return UserError(told)
        return Fault(f"the API server answers {error.status}: {told}")


class _ConflictError(Fault):
    """Another write came between."""


def _message(error: ApiException) -> str:
    """What the API server says, in one line."""
    try:
        told = json.loads(error.body or "{}")
    except ValueError:
        told = {}
    message = told.get("message") if isinstance(told, dict) else None
    return " ".join(str(message or error.reason).split())
