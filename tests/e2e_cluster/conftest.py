"""`make e2e KUBECONFIG=FILE`: the chart in a cluster, once, and what surrounds a rollout there. docs/e2e.md."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from serving.rollout.cluster_client import cause
from tests.e2e_cluster.cluster import Cluster
from tests.e2e_cluster.release import helm
from tests.e2e_cluster.surroundings import PROMETHEUS, Place, Surroundings, in_pods, in_processes, own_address

KUBECONFIG, VALUES = "MGOE_E2E_KUBECONFIG", "MGOE_E2E_VALUES"
RELEASE = "mgoe"
ENDS_S = 150.0
"""In which an operator gives the traffic of deleted rollouts back."""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    if not os.environ.get(KUBECONFIG):
        pytest.skip(f"no cluster is named: make e2e KUBECONFIG=FILE ({KUBECONFIG})")
    found = Cluster(Path(os.environ[KUBECONFIG]))
    try:
        words = found.words()
    except (ApiException, ConfigException, HTTPError, OSError) as error:
        pytest.exit(f"the cluster of {os.environ[KUBECONFIG]} does not answer: {cause(error)[:200]}", returncode=2)
    print(f"\ncluster: {words}")  # noqa: T201  # -s or a failure shows it
    return found


@pytest.fixture(scope="session")
def values(cluster: Cluster) -> dict[str, Any]:
    """Of the chart. Without a kubelet nothing starts: then a database would only keep Helm waiting."""
    given: dict[str, Any] = json.loads(os.environ.get(VALUES) or "{}")
    there = cluster.found("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelrollouts.mgoe.dev") is not None
    # A CRD that is there belongs to somebody's release; ours goes with us.
    quick = {
        "crd": {"install": not there, "keep": False},
        "operator": {"prometheus": f"http://{PROMETHEUS}:9090", "replicas": 1},
    }
    services = {"services": {"baseline": "mmoe", "candidate": "mgoe"}}
    if cluster.has_kubelet:
        return {**quick, "gateway": {**services, "replicas": 1}, **given}
    names = {"database": {"existingSecret": "evidence-database"}, "enabled": False}
    return {**quick, "gateway": services, "postgresql": {"enabled": False}, "evidence": names, **given}


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    """One of its own, taken away at the end."""
    name = f"mgoe-e2e-{uuid.uuid4().hex[:6]}"
    cluster.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.remove_namespace(name)


@pytest.fixture(scope="session")
def release(cluster: Cluster, namespace: str, values: dict[str, Any]) -> Iterator[str]:
    """The chart, installed."""
    helm("install", RELEASE, namespace, cluster.kubeconfig, values, wait=cluster.has_kubelet)
    yield RELEASE
    # An operator that came to nothing leaves rollouts that would keep CRD and namespace for ever.
    left = () if cluster.end_rollouts(namespace, 0) else cluster.strip_rollouts(namespace)
    helm("uninstall", RELEASE, namespace, cluster.kubeconfig, {}, wait=False)
    assert not left, f"ModelRollouts whose finalizer had to be taken: {', '.join(left)}"


@pytest.fixture(scope="session")
def surroundings(
    cluster: Cluster, namespace: str, release: str, values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Surroundings]:
    """Rankers and Prometheus; where there is no kubelet, the operator and a gateway's agent too."""
    image = values.get("image", {})
    host = f"{image['registry']}/" if image.get("registry") else ""
    place = Place(
        cluster=cluster,
        namespace=namespace,
        folder=tmp_path_factory.mktemp("e2e"),
        gateway=f"{release}-gateway",
        operator=f"{release}-operator",
        image=f"{host}{image.get('repository', 'mgoe')}/control:{image.get('tag') or '0.1.0'}",
    )
    if not cluster.has_kubelet and own_address() is None:
        pytest.skip("no kubelet, and this machine has no address but loopback (MGOE_E2E_ADDRESS names one)")
    with (in_pods if cluster.has_kubelet else in_processes)(place) as made:
        yield made
        # While their operator runs, also those of a test that failed.
        cluster.end_rollouts(namespace, ENDS_S)
