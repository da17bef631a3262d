"""The least number of replicas of a Deployment: its own scale, or that of the autoscaler that owns it.

A HorizontalPodAutoscaler takes a scale that somebody else writes back at its next look, so its own lower bound is
written where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from model.errors import Fault
from serving.rollout.kubernetes_store import TIMEOUT_S, asked

AUTOSCALED = 1
"""An autoscaler keeps so many at least, unless a cluster allows none."""


@dataclass(frozen=True)
class Floor:
    """present: replicas at least, now. lowest: it can be brought down to so many."""

    present: int
    lowest: int = 0


class Replicas:
    """Of the Deployments of one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._apps = client.AppsV1Api(api)
        self._autoscaling = client.AutoscalingV2Api(api)
        self._namespace = namespace

    async def floor(self, name: str) -> Floor | None:
        """None: there is no such Deployment. Raises Fault, also where scaling is not allowed."""
        autoscaler = await self._autoscaler(name)
        if autoscaler is not None:
            return Floor(int(autoscaler["spec"].get("minReplicas") or AUTOSCALED), AUTOSCALED)
        found = await asked(
            lambda: self._apps.read_namespaced_deployment_scale(name, self._namespace, _request_timeout=TIMEOUT_S),
            f"scale of Deployment {name}",
            absent=None,
        )
        return None if found is None else Floor(int(found.spec.replicas or 0))

    async def set_floor(self, name: str, replicas: int) -> None:
        """Raises Fault where it cannot be written, ConflictError where the autoscaler was changed meanwhile."""
        autoscaler = await self._autoscaler(name)
        if autoscaler is not None:
            await self._bound(autoscaler, replicas)
            return
        scale = {"spec": {"replicas": replicas}}
        await asked(
            lambda: self._apps.patch_namespaced_deployment_scale(
                name, self._namespace, scale, _request_timeout=TIMEOUT_S
            ),
            f"scale of Deployment {name}",
        )

    async def _autoscaler(self, name: str) -> Mapping[str, Any] | None:
        """The one whose target is this Deployment."""
        found = await asked(
            lambda: self._autoscaling.list_namespaced_horizontal_pod_autoscaler(
                self._namespace, _request_timeout=TIMEOUT_S
            ),
            f"HorizontalPodAutoscalers of {self._namespace}",
        )
        items: list[Mapping[str, Any]] = self._autoscaling.api_client.sanitize_for_serialization(found)["items"]
        for each in items:
            target = each["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) == ("Deployment", name):
                return each
        return None

    async def _bound(self, autoscaler: Mapping[str, Any], replicas: int) -> None:
        """Its lower bound."""
        name, most = autoscaler["metadata"]["name"], int(autoscaler["spec"]["maxReplicas"])
        if replicas > most:
            raise Fault(f"HorizontalPodAutoscaler {name} has maxReplicas {most}, and {replicas} are needed: raise it")
        body = {
            "metadata": {"resourceVersion": autoscaler["metadata"]["resourceVersion"]},
            "spec": {"minReplicas": max(AUTOSCALED, replicas)},
        }
        await asked(
            lambda: self._autoscaling.patch_namespaced_horizontal_pod_autoscaler(
                name, self._namespace, body, _request_timeout=TIMEOUT_S
            ),
            f"HorizontalPodAutoscaler {name}",
        )
