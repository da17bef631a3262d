"""What a rollout needs around it: rankers, a Prometheus, and where no kubelet runs the chart's pods, their work too."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e_cluster import stand_in
from tests.e2e_cluster.cluster import Cluster
from tests.e2e_cluster.gateway_pod import Chart, GatewayPod, Rankers, gateway_pod, running
from tests.serving.evidence.evidence_process import StoreProcess

DIGESTS = {"mmoe": "b" * 64, "mgoe": "c" * 64}
PROMETHEUS = "e2e-prometheus"
ADDRESS = "MGOE_E2E_ADDRESS"


@dataclass(frozen=True)
class Place:
    """Where it all is."""

    cluster: Cluster
    namespace: str
    folder: Path
    gateway: str
    """Name of the chart's gateway."""
    operator: str
    """Name of the operator's service account."""
    image: str

    def path(self, collection: str, name: str = "") -> str:
        prefix = {"endpointslices": "/apis/discovery.k8s.io/v1", "deployments": "/apis/apps/v1"}
        return f"{prefix.get(collection, '/api/v1')}/namespaces/{self.namespace}/{collection}/{name}".rstrip("/")

    def put(self, collection: str, kind: str, name: str, **fields: Any) -> None:
        version = {"endpointslices": "discovery.k8s.io/v1", "deployments": "apps/v1"}.get(collection, "v1")
        metadata = {"name": name, "namespace": self.namespace, **fields.pop("metadata", {})}
        self.cluster.apply(
            self.path(collection, name), {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
        )

    def endpoint(self, service: str, port_name: str, address: str, port: int) -> None:
        """One pod of a service, which runs somewhere else."""
        self.put(
            "endpointslices",
            "EndpointSlice",
            f"{service}-e2e",
            metadata={"labels": {"kubernetes.io/service-name": service}},
            addressType="IPv4",
            ports=[{"name": port_name, "port": port, "protocol": "TCP"}],
            endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
        )

    def token(self, account: str) -> str:
        """Of a service account, for ten minutes and more: the chart's own rights are what is tried."""
        made = self.cluster.call(
            "POST", self.path("serviceaccounts", account) + "/token", {"spec": {"expirationSeconds": 3600}}
        )
        return str(made["status"]["token"])


class Surroundings:
    """Sets what Prometheus says of the candidate."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def errors(self, share: float) -> None:
        """Through the API server, which reaches pods."""
        place = self.place
        place.cluster.call("POST", place.path("services", f"{PROMETHEUS}:9090") + f"/proxy/set/{share}")


class LocalSurroundings(Surroundings):
    """Everything is a process here."""

    def __init__(
        self,
        place: Place,
        prometheus: str,
        rankers: Mapping[str, tuple[str, int]],
        gateway: GatewayPod,
        evidence: StoreProcess,
    ) -> None:
        """rankers: address and port by digest's name, as an EndpointSlice may hold them."""
        super().__init__(place)
        self._prometheus = prometheus
        self.rankers, self.gateway, self.evidence = rankers, gateway, evidence

    def errors(self, share: float) -> None:
        """At its own port."""
        httpx.post(f"{self._prometheus}/set/{share}", trust_env=False).raise_for_status()


@contextlib.contextmanager
def in_pods(place: Place) -> Iterator[Surroundings]:
    """Rankers and Prometheus as pods of the control image, which has a Python."""
    source = Path(stand_in.__file__).read_text(encoding="utf-8")
    place.put("configmaps", "ConfigMap", "e2e-stand-in", data={"stand_in.py": source})
    for name, digest in (*DIGESTS.items(), (PROMETHEUS, "none")):
        labels = {"e2e": name}
        pod = {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "stand-in",
                    "image": place.image,
                    "command": ["python3", "/stand-in/stand_in.py", digest],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "source", "mountPath": "/stand-in"}],
                }
            ],
            "volumes": [{"name": "source", "configMap": {"name": "e2e-stand-in"}}],
        }
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        place.put("deployments", "Deployment", name, spec=spec)
        headless = {} if name == PROMETHEUS else {"clusterIP": "None"}
        port = 9090 if name == PROMETHEUS else 8080
        ports = [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP"}]
        place.put("services", "Service", name, spec={"selector": labels, "ports": ports, **headless})
    yield Surroundings(place)


@contextlib.contextmanager
def in_processes(place: Place) -> Iterator[Surroundings]:
    """Rankers, Prometheus, one gateway pod, the evidence service and the operator on this machine, by the rights that
    the chart gives."""
    address = own_address()
    assert address is not None, f"no address but loopback; {ADDRESS} names one"
    database = f"sqlite:///{place.folder}/evidence.db"
    agents = f"{place.gateway}-agents"
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(_serving(stand_in.server(address, 0, digest)))
            for name, digest in (*DIGESTS.items(), (PROMETHEUS, "none"))
        }
        evidence = stack.enter_context(StoreProcess(database, place.folder, "--migrate"))
        chart = Chart(place.cluster, place.namespace, place.gateway)
        pod = stack.enter_context(gateway_pod(chart, place.folder, address, _rankers(stack), evidence))
        for name in DIGESTS:
            spec = {"clusterIP": "None", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}
            place.put("services", "Service", name, spec=spec)
            place.endpoint(name, "http", address, ports[name])
        place.endpoint(agents, "agent", address, pod.agent_port)
        prometheus = f"http://{address}:{ports[PROMETHEUS]}"
        stack.enter_context(_operating(place, prometheus, database))
        yield LocalSurroundings(place, prometheus, {name: (address, ports[name]) for name in DIGESTS}, pod, evidence)


def _rankers(stack: contextlib.ExitStack) -> Rankers:
    """As the gateway sees them: one port at several addresses, which an EndpointSlice may not hold here."""
    addresses = {name: f"127.0.0.{number}" for number, name in enumerate(DIGESTS, 2)}
    port = 0
    for name, address in addresses.items():
        port = stack.enter_context(_serving(stand_in.server(address, port, DIGESTS[name])))
    return Rankers(addresses, port)


def own_address() -> str | None:
    """An address of this machine that an EndpointSlice may hold, which loopback's may not."""
    if ADDRESS in os.environ:
        return os.environ[ADDRESS]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # nothing is sent: only a route is looked up
        except OSError:
            return None
        return str(probe.getsockname()[0])


@contextlib.contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _operating(place: Place, prometheus: str, database: str) -> Iterator[None]:
    command = [sys.executable, "-m", "mgoe", "rollout", "operator", "--evidence", database, "--prometheus", prometheus]
    command += ["--namespace", place.namespace, "--gateway", place.gateway, "--interval", "2", "--port", "0"]
    environment = {**os.environ, "KUBECONFIG": str(_kubeconfig(place, place.operator))}
    with running(command, place.folder / "operator.log", environment):
        yield


def _kubeconfig(place: Place, account: str) -> Path:
    """As the cluster's, with a service account's token in place of its user."""
    document = yaml.safe_load(place.cluster.kubeconfig.read_text(encoding="utf-8"))
    current = next(each for each in document["contexts"] if each["name"] == document["current-context"])
    current["context"] = {**current["context"], "user": account, "namespace": place.namespace}
    document["users"] = [{"name": account, "user": {"token": place.token(account)}}]
    path = place.folder / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path
