"""What a rollout needs around it: rankers, a Prometheus, and where no kubelet runs the chart's pods, their work too."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from serving.evidence.engine import open_engine
from serving.evidence.migration import migrate
from tests.e2e_cluster import stand_in
from tests.e2e_cluster.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
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
    """Prometheus is a process here."""

    def __init__(self, place: Place, address: str) -> None:
        super().__init__(place)
        self._address = address

    def errors(self, share: float) -> None:
        """At its own port."""
        httpx.post(f"{self._address}/set/{share}", trust_env=False).raise_for_status()


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
    """Rankers, Prometheus, one gateway's agent and the operator on this machine, by the rights that the chart gives."""
    address = own_address()
    assert address is not None, f"no address but loopback; {ADDRESS} names one"
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(_serving(stand_in.server(address, 0, digest)))
            for name, digest in (*DIGESTS.items(), (PROMETHEUS, "none"))
        }
        agents = f"{place.gateway}-agents"
        ports[agents] = stack.enter_context(_serving(_agent(place, address)))
        for name, label in (("mmoe", "http"), ("mgoe", "http"), (agents, "agent")):
            if name != agents:
                spec = {"clusterIP": "None", "ports": [{"name": label, "port": 8080, "protocol": "TCP"}]}
                place.put("services", "Service", name, spec=spec)
            place.put(
                "endpointslices",
                "EndpointSlice",
                f"{name}-e2e",
                metadata={"labels": {"kubernetes.io/service-name": name}},
                addressType="IPv4",
                ports=[{"name": label, "port": ports[name], "protocol": "TCP"}],
                endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
            )
        prometheus = f"http://{address}:{ports[PROMETHEUS]}"
        stack.enter_context(_operating(place, prometheus))
        yield LocalSurroundings(place, prometheus)


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


def _agent(place: Place, address: str) -> ThreadingHTTPServer:
    """A gateway's agent without an Envoy: what the ConfigMap wants is routed at once. It may read what the chart lets
    it read."""
    restricted = Cluster(_kubeconfig(place, place.gateway))

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = restricted.call("GET", place.path("configmaps", place.gateway))
            text = (found.get("data") or {}).get("split.json")
            wanted = json.loads(text) if text else {"experiment": "none", "salt": "none", "stratum": 1, "weight": 0}
            arms = {arm: {"healthy": 1, "known": 1} for arm in ("baseline", "candidate")}
            rest = {"run": None, "owner": None, "mirror": 0, **wanted}
            body = json.dumps({**rest, "replica": "here", "arms": arms, "problem": None}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Agent)
    server.daemon_threads = True
    return server


@contextlib.contextmanager
def _operating(place: Place, prometheus: str) -> Iterator[None]:
    database = f"sqlite:///{place.folder}/evidence.db"
    migrate(open_engine(database))
    command = [sys.executable, "-m", "mgoe", "rollout", "operator", "--evidence", database, "--prometheus", prometheus]
    command += ["--namespace", place.namespace, "--gateway", place.gateway, "--interval", "2", "--port", "0"]
    environment = {**os.environ, "KUBECONFIG": str(_kubeconfig(place, place.operator))}
    with (place.folder / "operator.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0, (place.folder / "operator.log").read_text()[-4000:]


def _kubeconfig(place: Place, account: str) -> Path:
    """As the cluster's, with a service account's token in place of its user."""
    document = yaml.safe_load(place.cluster.kubeconfig.read_text(encoding="utf-8"))
    current = next(each for each in document["contexts"] if each["name"] == document["current-context"])
    current["context"] = {**current["context"], "user": account, "namespace": place.namespace}
    document["users"] = [{"name": account, "user": {"token": place.token(account)}}]
    path = place.folder / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path
