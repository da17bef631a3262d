"""The chart before a real API server: what it takes, what it refuses, what an uninstall leaves."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from serving.rollout.lease import LeaseKeeper, LeaseSettings
from tests.e2e_cluster.cluster import Cluster
from tests.e2e_cluster.release import helm
from tests.e2e_cluster.surroundings import DIGESTS
from tests.serving.rollout.test_spec_rules import SENTENCES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SPEC: dict[str, Any] = {
    "baseline": {"bundle": "s3://e2e/mmoe", "digest": DIGESTS["mmoe"]},
    "candidate": {"bundle": "s3://e2e/mgoe", "digest": DIGESTS["mgoe"]},
    "driver": {"type": "gateway", "services": {"baseline": "mmoe", "candidate": "mgoe"}},
    "metrics": [{"name": "clicks", "value": "click", "role": "Primary"}],
}


def document(name: str = "tried", **changes: Any) -> dict[str, Any]:
    metadata = {"name": name}
    return {
        "apiVersion": "mgoe.dev/v1alpha1", "kind": "ModelRollout", "metadata": metadata, "spec": {**SPEC, **changes}
    }  # fmt: skip


@pytest.fixture
def path(cluster: Cluster, namespace: str, release: str) -> str:
    """Of rollouts; nothing is stored there by a dry run."""
    return f"/apis/mgoe.dev/v1alpha1/namespaces/{namespace}/modelrollouts"


def test_the_crd_is_established_without_a_complaint(cluster: Cluster, release: str) -> None:
    found = cluster.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelrollouts.mgoe.dev")
    conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


def test_a_rollout_gets_its_defaults(cluster: Cluster, path: str) -> None:
    made = cluster.call("POST", f"{path}?dryRun=All", document())
    assert [each["weight"] for each in made["spec"]["steps"]] == [1, 5, 20, 50]
    assert made["spec"]["capacity"]["drainSeconds"] == 60
    assert made["spec"]["guardrails"] == []


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_api_server_refuses_with_our_sentence(cluster: Cluster, path: str, sentence: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.call("POST", f"{path}?dryRun=All", document(**SENTENCES[sentence]))
    assert refused.value.status == 422
    assert sentence in refused.value.body


def test_a_misspelt_field_is_refused_where_the_client_asks_for_it(cluster: Cluster, path: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.call("POST", f"{path}?dryRun=All&fieldValidation=Strict", document(pasued=True))
    assert 'unknown field \\"spec.pasued\\"' in refused.value.body


@pytest.fixture
def second(cluster: Cluster) -> Iterator[str]:
    name = f"mgoe-e2e-second-{int(time.time())}"
    cluster.apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.remove_namespace(name)


def test_an_upgrade_keeps_what_was_made_and_an_uninstall_leaves_what_the_readme_says(
    cluster: Cluster, release: str, second: str
) -> None:
    """A second release: the CRD is the first one's."""
    values = {"crd": {"install": False}, "objectStore": {"enabled": True}}
    kept = ("mgoe-postgresql", "mgoe-s3", "mgoe-evidence-tokens")
    helm("install", "mgoe", second, cluster.kubeconfig, values, wait=False)
    before = {name: cluster.call("GET", f"/api/v1/namespaces/{second}/secrets/{name}")["data"] for name in kept}
    helm("upgrade", "mgoe", second, cluster.kubeconfig, values, wait=False)
    after = {name: cluster.call("GET", f"/api/v1/namespaces/{second}/secrets/{name}")["data"] for name in kept}
    assert after == before
    led = LeaseKeeper(_as_operator(cluster, second), LeaseSettings(second, "e2e"))
    assert asyncio.run(led.attempt()), "the chart's rights let its operator lead"
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{second}/leases/mgoe-rollout"
    assert cluster.call("GET", lease)["spec"]["holderIdentity"] == "e2e"
    helm("uninstall", "mgoe", second, cluster.kubeconfig, {}, wait=False)
    kept_by_the_readme = {"secrets/mgoe-postgresql", "secrets/mgoe-s3"}
    end = time.monotonic() + 60
    while (left := _left(cluster, second)) != kept_by_the_readme:
        assert time.monotonic() < end, left
        time.sleep(0.5)


def _as_operator(cluster: Cluster, namespace: str) -> client.ApiClient:
    """By the token of the chart's service account."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/mgoe-operator/token"
    made = cluster.call("POST", path, {"spec": {"expirationSeconds": 600}})
    settings = copy.copy(cluster.api.configuration)
    settings.api_key = {"authorization": f"Bearer {made['status']['token']}"}
    settings.cert_file = settings.key_file = None
    return client.ApiClient(settings)


def _left(cluster: Cluster, namespace: str) -> set[str]:
    """What is called after the chart, but for the volumes' claims."""
    return {
        f"{collection.rpartition('/')[2]}/{each['metadata']['name']}"
        for collection in LISTED
        for each in cluster.call("GET", collection.format(namespace=namespace))["items"]
        if "mgoe" in each["metadata"]["name"]
    }


LISTED = (
    *(f"/api/v1/namespaces/{{namespace}}/{each}" for each in ("configmaps", "secrets", "services", "serviceaccounts")),
    *(f"/apis/apps/v1/namespaces/{{namespace}}/{each}" for each in ("deployments", "statefulsets")),
    "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    "/apis/batch/v1/namespaces/{namespace}/jobs",
    "/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    *(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{{namespace}}/{each}" for each in ("roles", "rolebindings")),
)
