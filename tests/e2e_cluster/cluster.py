"""The cluster of `make e2e`, and what it has: asked before anything is begun, so that a test skips by name."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

ROLLOUTS = "/apis/mgoe.dev/v1alpha1"
LEAST = (1, 30)
"""Of Kubernetes, as the chart has it."""


@dataclass(frozen=True)
class Cluster:
    """One API server, by a kubeconfig."""

    kubeconfig: Path

    @cached_property
    def api(self) -> client.ApiClient:
        settings = client.Configuration()
        config.load_kube_config(str(self.kubeconfig), client_configuration=settings)
        settings.retries = 0
        return client.ApiClient(settings)

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """The answer of the API server to any request. Raises ApiException."""
        answer, _, _ = self.api.call_api(
            path,
            method,
            header_params={"Content-Type": kind, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            response_type="object",
            _request_timeout=20,
        )
        return answer

    def found(self, path: str) -> Any:
        """What is there; None: nothing."""
        try:
            return self.call("GET", path)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def apply(self, path: str, document: dict[str, Any]) -> Any:
        """Server-side apply, which takes fields of anybody."""
        query = "?fieldManager=mgoe-e2e&force=true"
        return self.call("PATCH", path + query, document, "application/apply-patch+yaml")

    def end_rollouts(self, namespace: str, seconds: float) -> bool:
        """Deletes a namespace's ModelRollouts; whether they were gone in time. An operator gives their traffic back."""
        path = f"{ROLLOUTS}/namespaces/{namespace}/modelrollouts"
        if self.found(path) is None:  # no such resource any more
            return True
        self.call("DELETE", path)
        end = time.monotonic() + seconds
        while self.call("GET", path)["items"]:
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True

    def strip_rollouts(self, namespace: str) -> tuple[str, ...]:
        """Takes the finalizers of ModelRollouts that no operator ends; their names."""
        path = f"{ROLLOUTS}/namespaces/{namespace}/modelrollouts"
        names = tuple(each["metadata"]["name"] for each in (self.found(path) or {"items": ()})["items"])
        for name in names:
            patch = {"metadata": {"finalizers": None}}
            self.call("PATCH", f"{path}/{name}", patch, "application/merge-patch+json")
        return names

    def remove_namespace(self, name: str) -> None:
        """Deletes it. Without a controller manager nobody else takes it away, so its last finalizer goes here."""
        path = f"/api/v1/namespaces/{name}"
        self.call("DELETE", path)
        found = self.found(path)
        if found is not None and not self.has_garbage_collector:
            self.call("PUT", f"{path}/finalize", {**found, "spec": {"finalizers": []}})

    @cached_property
    def version(self) -> tuple[int, int]:
        told = self.call("GET", "/version")
        return int(told["major"]), int(str(told["minor"]).rstrip("+"))

    @cached_property
    def has_kubelet(self) -> bool:
        """Whether a node would run pods."""
        nodes = self.call("GET", "/api/v1/nodes")["items"]
        conditions = [each for node in nodes for each in node.get("status", {}).get("conditions", ())]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    @cached_property
    def has_kserve(self) -> bool:
        """Whether KServe's controller runs: its CRD alone moves nothing."""
        pods = "/api/v1/pods?labelSelector=control-plane%3Dkserve-controller-manager"
        found = self.call("GET", pods)["items"]
        return any(each.get("status", {}).get("phase") == "Running" for each in found)

    @cached_property
    def has_garbage_collector(self) -> bool:
        """Whether a controller manager runs: it gives every namespace its `default` service account."""
        return self.found("/api/v1/namespaces/default/serviceaccounts/default") is not None

    def lacks(self) -> tuple[str, ...]:
        """What it does not have, in words."""
        missing = []
        if self.version < LEAST:
            missing.append(f"Kubernetes {'.'.join(map(str, LEAST))} (it is {'.'.join(map(str, self.version))})")
        if not self.has_kubelet:
            missing.append("a kubelet: no node is Ready")
        if not self.has_kserve:
            missing.append("KServe's controller")
        if not self.has_garbage_collector:
            missing.append("a controller manager")
        return tuple(missing)

    def words(self) -> str:
        """The cluster in a line."""
        return json.dumps({"version": ".".join(map(str, self.version)), "lacks": self.lacks()})
