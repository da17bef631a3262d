"""The training manifests: accepted by KubeRay's and Kubeflow Trainer's CRDs, locked down, allowed what they call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from components.train.cluster_jobs import ClusterJobs
from components.train.job import ORDER_VARIABLE, S3_KEYS, JobOptions
from components.train.ray_job import RAY_JOB, ray_job
from components.train.train_job import TRAIN_JOB, train_job, training_runtime
from model.registry.address import PASSWORD_VARIABLES
from tests.manifests.kustomized import MANIFESTS, Resource, rendered
from tests.manifests.structural_schema import errors

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gpus": {"gpus": 4, "cpu": "32", "memory": "256Gi", "image": "registry.example/mgoe/train:1"},
    "no-secrets": {"s3_secret": None, "registry_secret": None, "cpu": "500m"},
}


def made(name: str) -> list[Resource]:
    ray = JobOptions.model_validate({"kind": "rayjob", **OPTIONS[name]})
    torch = ray.model_copy(update={"kind": "trainjob"})
    return [ray_job("a", "{}", ray), train_job("b", "{}", torch), training_runtime(torch)]


def pods(value: Any) -> Iterator[Resource]:
    """Every pod's spec somewhere in a resource."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for each in value.values():
            yield from pods(each)
    elif isinstance(value, list):
        for each in value:
            yield from pods(each)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_job_is_as_its_crd_has_it(name: str, schemas: dict[tuple[str, str], Resource]) -> None:
    for resource in made(name):
        assert errors(resource, schemas[resource["apiVersion"], resource["kind"]]) == []


def test_the_check_itself_finds_mistakes(schemas: dict[tuple[str, str], Resource]) -> None:
    job = ray_job("a", "{}", JobOptions(kind="rayjob"))
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["memory"] = "1Gi"
    assert errors(job, schemas["ray.io/v1", "RayJob"]) == [
        ".spec.rayClusterSpec.headGroupSpec.template.spec.containers[0].memory: unknown field"
    ]


def test_the_folder_holds_what_the_crds_accept(schemas: dict[tuple[str, str], Resource]) -> None:
    examples = [yaml.safe_load(path.read_text()) for path in sorted((MANIFESTS / "training").glob("*.example.yaml"))]
    checked = [resource for resource in [*rendered("training"), *examples] if "." in resource["apiVersion"]]
    kinds = {resource["kind"] for resource in checked if resource["kind"] != "Role"}
    assert kinds == {"RayJob", "TrainJob", "TrainingRuntime"}
    for resource in checked:
        if (resource["apiVersion"], resource["kind"]) in schemas:
            assert errors(resource, schemas[resource["apiVersion"], resource["kind"]]) == []


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_no_pod_runs_as_root_or_writes_outside_its_volumes(name: str) -> None:
    found = [pod for resource in made(name) for pod in pods(resource)]
    assert len(found) == 3  # the head, the workers, the runtime's nodes
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/dev/shm"}  # noqa: S108


@pytest.mark.parametrize("kind", ["RayJob", "TrainJob"])
def test_secrets_travel_by_reference_alone(kind: str) -> None:
    [job] = [resource for resource in made("plain") if resource["kind"] == kind]
    found = list(environments(job))
    assert len(found) == {"RayJob": 2, "TrainJob": 1}[kind]  # the head and the workers; all nodes are alike
    for environment in found:
        by_name = {entry["name"]: entry for entry in environment}
        for secret, keys in (("mgoe-s3", S3_KEYS), ("mgoe-registry", PASSWORD_VARIABLES)):
            for key in keys:
                reference = {"name": secret, "key": key, "optional": True}
                assert by_name.pop(key) == {"name": key, "valueFrom": {"secretKeyRef": reference}}
        assert by_name.keys() <= {"OMP_NUM_THREADS", "HOME", ORDER_VARIABLE}


def test_secrets_that_are_not_wanted_are_not_named() -> None:
    text = yaml.safe_dump(made("no-secrets"))
    assert "secretKeyRef" not in text
    assert not [key for key in (*S3_KEYS, *PASSWORD_VARIABLES) if key in text]


def environments(value: Any) -> Iterator[list[Resource]]:
    """Every container's environment somewhere in a resource."""
    if isinstance(value, dict):
        if isinstance(value.get("env"), list):
            yield value["env"]
        for each in value.values():
            yield from environments(each)
    elif isinstance(value, list):
        for each in value:
            yield from environments(each)


def test_the_role_allows_what_a_step_calls_and_nothing_else() -> None:
    [role] = [resource for resource in rendered("training") if resource["kind"] == "Role"]
    called = {
        verb
        for verb in ("create", "get", "list", "watch", "patch", "update", "delete")
        if f"{verb}_namespaced_custom_object" in _source()
    }
    allowed = {
        (group, of): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for of in rule["resources"]
    }
    assert allowed == {(kind.group, kind.plural): called for kind in (RAY_JOB, TRAIN_JOB)}


def _source() -> str:
    import inspect

    return inspect.getsource(ClusterJobs)
