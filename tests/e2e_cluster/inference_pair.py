"""An InferenceService with a canary in the test's namespace.

Where KServe's controller runs, its pods are stand-ins by a ServingRuntime. Before an API server alone the CRDs come
from `MGOE_CRDS`, and what the driver reads of the controller (status, endpoints of the predictors) is played here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from tests.e2e_cluster import stand_in
from tests.e2e_cluster.cluster import Cluster
from tests.e2e_cluster.surroundings import DIGESTS, LocalSurroundings, Place, Surroundings

CRDS = ("serving.kserve.io_inferenceservices.yaml", "serving.kserve.io_servingruntimes.yaml")
VERSION = "kserve-v0.20.0"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME, RUNTIME, CANARY = "e2e-pair", "e2e-stand-in", "candidate"
STATUS_S = 0.2


@dataclass(frozen=True)
class InferencePair:
    """One InferenceService: the stable predictor serves the baseline, its one canary the candidate."""

    cluster: Cluster
    namespace: str
    name: str = NAME

    @property
    def path(self) -> str:
        return f"/apis/serving.kserve.io/v1beta1/namespaces/{self.namespace}/inferenceservices/{self.name}"

    def percents(self) -> tuple[int, int]:
        """What the canary is to have, and what the controller says that it has."""
        document = self.cluster.call("GET", self.path)
        told = [each["trafficPercent"] for each in document["status"]["canaryStatuses"] if each["name"] == CANARY]
        return document["spec"]["canary"][0]["trafficPercent"], told[0]

    def managers(self) -> list[str]:
        """Field managers."""
        found = self.cluster.call("GET", self.path)["metadata"]["managedFields"]
        return [each["manager"] for each in found]


@contextlib.contextmanager
def inference_pair(surroundings: Surroundings) -> Iterator[InferencePair]:
    """Stored, and with a status; it goes at the end. Skips by name what the cluster lacks."""
    place = surroundings.place
    pair = InferencePair(place.cluster, place.namespace)
    with contextlib.ExitStack() as stack:
        if not place.cluster.has_kserve:
            if not isinstance(surroundings, LocalSurroundings):
                pytest.skip("the cluster lacks KServe's controller (docs/e2e.md names the version)")
            stack.enter_context(_definitions(place.cluster))
        _create(place, pair)
        stack.callback(place.cluster.call, "DELETE", pair.path)
        if isinstance(surroundings, LocalSurroundings):
            for service, ranker in ((f"{NAME}-predictor", "mmoe"), (f"{NAME}-{CANARY}-predictor", "mgoe")):
                place.endpoint(service, "http", *surroundings.rankers[ranker])
            stack.enter_context(_controlling(pair))
        _wait_for_status(pair)
        yield pair


def _create(place: Place, pair: InferencePair) -> None:
    """The runtime whose pods tell the digest in their arguments, and the service."""
    source = Path(stand_in.__file__).read_text(encoding="utf-8")
    place.put("configmaps", "ConfigMap", "e2e-stand-in", data={"stand_in.py": source})
    group = f"/apis/serving.kserve.io/v1alpha1/namespaces/{place.namespace}/servingruntimes"
    container = {
        "name": "kserve-container",
        "image": place.image,
        "command": ["python3", "/stand-in/stand_in.py"],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "source", "mountPath": "/stand-in"}],
    }
    runtime = {
        "supportedModelFormats": [{"name": "e2e", "version": "1"}],
        "containers": [container],
        "volumes": [{"name": "source", "configMap": {"name": "e2e-stand-in"}}],
    }
    place.cluster.apply(f"{group}/{RUNTIME}", _object("v1alpha1", "ServingRuntime", RUNTIME, runtime))
    models = {
        name: {"name": "", "modelFormat": {"name": "e2e"}, "runtime": RUNTIME, "args": [digest]}
        for name, digest in DIGESTS.items()
    }
    spec = {
        "predictor": {"minReplicas": 1, "model": models["mmoe"]},
        "canary": [{"trafficPercent": 0, "predictor": {"name": CANARY, "minReplicas": 1, "model": models["mgoe"]}}],
    }
    document = _object("v1beta1", "InferenceService", pair.name, spec)
    document["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": "Standard"}
    place.cluster.call("POST", pair.path.rpartition("/")[0], document)


def _object(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"serving.kserve.io/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}


@contextlib.contextmanager
def _definitions(cluster: Cluster) -> Iterator[None]:
    """KServe's CRDs, where the cluster has none; those that were made here go."""
    folder = Path(os.environ.get("MGOE_CRDS") or "") / VERSION
    with contextlib.ExitStack() as made:
        for file in CRDS:
            group, _, plural = Path(file).stem.partition("_")
            path = f"{DEFINITIONS}/{plural}.{group}"
            if cluster.found(path) is not None:
                continue
            if not (folder / file).is_file():
                pytest.skip(f"the cluster lacks KServe's CRDs, and MGOE_CRDS names no folder of them ({VERSION})")
            cluster.call("POST", DEFINITIONS, yaml.safe_load((folder / file).read_bytes()))
            made.callback(cluster.call, "DELETE", path)
            _established(cluster, path)
        yield


def _established(cluster: Cluster, path: str) -> None:
    end = time.monotonic() + 60
    while True:
        conditions = cluster.call("GET", path).get("status", {}).get("conditions") or ()
        if any((each["type"], each["status"]) == ("Established", "True") for each in conditions):
            return
        assert time.monotonic() < end, conditions
        time.sleep(0.2)


@contextlib.contextmanager
def _controlling(pair: InferencePair) -> Iterator[None]:
    """Tells, as the controller does, what percent the canary has: that of the spec, since its pods are ready."""
    end = threading.Event()

    def control() -> None:
        while not end.wait(STATUS_S):
            document = pair.cluster.call("GET", pair.path)
            told = {
                "observedGeneration": document["metadata"]["generation"],
                "canaryStatuses": [
                    {"name": CANARY, "ready": True, "trafficPercent": document["spec"]["canary"][0]["trafficPercent"]}
                ],
            }
            if told.items() <= (document.get("status") or {}).items():
                continue
            with contextlib.suppress(ApiException):  # written meanwhile: the next turn reads it anew
                pair.cluster.call("PUT", f"{pair.path}/status", {**document, "status": told})

    thread = threading.Thread(target=control)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _wait_for_status(pair: InferencePair) -> None:
    end = time.monotonic() + 300
    while not (pair.cluster.call("GET", pair.path).get("status") or {}).get("canaryStatuses"):
        assert time.monotonic() < end, "KServe's controller tells nothing of the canary"
        time.sleep(0.5)
