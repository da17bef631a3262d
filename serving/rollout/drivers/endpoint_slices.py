"""Which pods stand behind a Kubernetes service, and which of them get traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from serving.rollout.kubernetes_store import TIMEOUT_S, asked

SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Endpoint:
    """One pod behind one port."""

    address: str
    port: int
    ready: bool
    serving: bool
    """It gets traffic, also while it ends."""

    @property
    def url(self) -> str:
        """Its HTTP address."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


class EndpointSlices:
    """Endpoints by service, of one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._api = client.DiscoveryV1Api(api)
        self._namespace = namespace

    async def of(self, service: str, port: str) -> tuple[Endpoint, ...]:
        """All endpoints of a service, by the name that its port begins with. Raises Fault."""
        found = await asked(
            lambda: self._api.list_namespaced_endpoint_slice(
                self._namespace, label_selector=f"{SERVICE_LABEL}={service}", _request_timeout=TIMEOUT_S
            ),
            f"EndpointSlices of {service}",
        )
        document: Mapping[str, Any] = self._api.api_client.sanitize_for_serialization(found)
        return endpoints_of(document["items"], port)


def endpoints_of(slices: list[Mapping[str, Any]], port: str) -> tuple[Endpoint, ...]:
    """The endpoints of slices. A condition that is not told counts as true, as Kubernetes has it."""
    found: dict[str, Endpoint] = {}
    for each in slices:
        ports = [one for one in each.get("ports") or () if str(one.get("name") or "").startswith(port)]
        if not ports:
            continue
        for one in each.get("endpoints") or ():
            conditions = one.get("conditions") or {}
            ready = conditions.get("ready") is not False
            serving = ready if conditions.get("serving") is None else bool(conditions["serving"])
            address = str(one["addresses"][0])
            found[address] = Endpoint(address, int(ports[0]["port"]), ready, serving)
    return tuple(found.values())
