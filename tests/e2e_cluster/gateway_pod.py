"""The chart's gateway pod as processes of this machine, for a cluster without a kubelet: Envoy and the agent, by the
command, arguments, settings and service account that the chart gives them. What is not as in a pod: names are
answered by a DNS server here, ports are free ones, and the agent sends its exposures to an evidence service here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from serving.gateway.admin import Admin
from serving.gateway.envoy import find_envoy
from serving.gateway.folder import BOOTSTRAP_FILE, GatewayFolder
from tests.e2e_cluster.cluster import Cluster
from tests.e2e_cluster.names import resolving
from tests.serving.evidence.evidence_process import ROOT, TOKENS, StoreProcess

FOLDER, SETTINGS = "/var/lib/mgoe/gateway", "/etc/mgoe/gateway.yaml"
"""In the pod."""
_LISTENING = re.compile(r"listening on http [0-9.]+:(\d+)")


@dataclass(frozen=True)
class GatewayPod:
    """A running gateway."""

    folder: GatewayFolder
    agent_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """Where it takes ranking requests."""
        return Admin(self.folder.admin_address.read_text(encoding="utf-8").strip()).port()


@dataclass(frozen=True)
class Rankers:
    """Behind one port each, as pods are."""

    addresses: Mapping[str, str]
    """By service."""
    port: int


@dataclass(frozen=True)
class Chart:
    """What the chart says of its gateway, as the API server has it."""

    cluster: Cluster
    namespace: str
    gateway: str

    def settings(self, ranker_port: int) -> dict[str, Any]:
        """The pods' own settings, on free ports and with the rankers' port here."""
        found = self.cluster.call("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/{self.gateway}-settings")
        document: dict[str, Any] = yaml.safe_load(found["data"]["gateway.yaml"])
        for arm in ("baseline", "candidate"):
            document[arm]["endpoints"][0] = {**document[arm]["endpoints"][0], "http": ranker_port}
        document["listener"] = {**document["listener"], "host": "127.0.0.1", "port": 0}
        document["admin"] = {**document["admin"], "port": 0}
        return document

    def container(self, name: str) -> dict[str, Any]:
        """One container of its pods."""
        found = self.cluster.call("GET", f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.gateway}")
        pod = found["spec"]["template"]["spec"]
        [container] = [each for each in (*pod["initContainers"], *pod["containers"]) if each["name"] == name]
        return dict(container)


@contextlib.contextmanager
def gateway_pod(
    chart: Chart, folder: Path, address: str, rankers: Rankers, evidence: StoreProcess
) -> Iterator[GatewayPod]:
    """Started, and following the ConfigMap. address: where the agent listens."""
    places = {SETTINGS: str(folder / "gateway.yaml"), FOLDER: str(folder / "gateway")}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(chart.settings(rankers.port)), encoding="utf-8")
    render = _here(chart.container("render")["args"], places)
    subprocess.run([sys.executable, "-m", "mgoe", *render], check=True, cwd=ROOT, timeout=120)
    names = {f"{service}.{chart.namespace}.svc": found for service, found in rankers.addresses.items()}
    with contextlib.ExitStack() as stack:
        _resolve_at(folder / "gateway" / BOOTSTRAP_FILE, stack.enter_context(resolving(names)))
        envoy = [str(find_envoy()), *_here(chart.container("envoy")["command"][1:], places)]
        stack.enter_context(running(envoy, folder / "envoy.log", dict(os.environ)))
        gateway = GatewayFolder(folder / "gateway")
        _wait(gateway.admin_address.exists, "Envoy's address", folder / "envoy.log")
        agent = _here(chart.container("agent")["args"], places)
        agent = [each for each in agent if not re.match("--(address|port|settle|drain|evidence|token)=", each)]
        agent += [f"--address={address}", "--port=0", "--settle=0", "--drain=1"]
        agent += [f"--evidence={evidence.url}", f"--token={_written(folder / 'write-token', TOKENS['write'])}"]
        agent += [f"--account={_account(chart, folder)}"]
        log = folder / "agent.log"
        server = urlsplit(chart.cluster.api.configuration.host)
        found = {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port or 443)}
        command = [sys.executable, "-m", "mgoe", *agent]
        process = stack.enter_context(running(command, log, os.environ | found))
        _wait(lambda: bool(_LISTENING.search(log.read_text())), "the agent's port", log)
        told = _LISTENING.search(log.read_text())
        assert told is not None
        yield GatewayPod(gateway, int(told[1]), process, log)


def _here(words: list[str], places: Mapping[str, str]) -> list[str]:
    """Words of a container, with its folders as they are here."""
    for there, here in places.items():
        words = [each.replace(there, here) for each in words]
    return words


def _resolve_at(bootstrap: Path, port: int) -> None:
    """Has Envoy ask this DNS server."""
    document = json.loads(bootstrap.read_bytes())
    server = {"socket_address": {"address": "127.0.0.1", "port_value": port, "protocol": "UDP"}}
    document["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [server],
            "dns_resolver_options": {"no_default_search_domain": True},
        },
    }
    bootstrap.write_text(json.dumps(document), encoding="utf-8")


def _account(chart: Chart, folder: Path) -> Path:
    """What Kubernetes puts into a pod: token, namespace and the API server's authority."""
    account = folder / "account"
    account.mkdir()
    path = f"/api/v1/namespaces/{chart.namespace}/serviceaccounts/{chart.gateway}/token"
    made = chart.cluster.call("POST", path, {"spec": {"expirationSeconds": 3600}})
    _written(account / "token", str(made["status"]["token"]))
    _written(account / "namespace", chart.namespace)
    document = yaml.safe_load(chart.cluster.kubeconfig.read_text(encoding="utf-8"))
    context = next(each for each in document["contexts"] if each["name"] == document["current-context"])
    [cluster] = [each["cluster"] for each in document["clusters"] if each["name"] == context["context"]["cluster"]]
    if "certificate-authority" in cluster:
        authority = (chart.cluster.kubeconfig.parent / cluster["certificate-authority"]).read_bytes()
    elif "certificate-authority-data" in cluster:
        authority = base64.b64decode(cluster["certificate-authority-data"])
    else:
        pytest.skip("the kubeconfig names no certificate-authority, without which the gateway's agent trusts nobody")
    (account / "ca.crt").write_bytes(authority)
    return account


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()[-4000:]


def _wait(so: Callable[[], bool], what: str, log: Path, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, f"no {what} after {seconds} s: {log.read_text()[-4000:]}"
        time.sleep(0.05)
