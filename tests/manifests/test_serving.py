"""The serving manifests: accepted by KServe's CRDs, locked down, and calling the command with options it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from typer.main import get_command

from serving.ranker.commands import app
from serving.ranker.torchserve.commands import app as torchserve_app
from serving.ranker.torchserve.launch import ServerOptions
from tests.manifests.kustomized import Resource, rendered
from tests.manifests.structural_schema import errors

FOLDERS = [
    "serving/runtimes",
    "serving/standard",
    "serving/standard-keda",
    "serving/standard-prepared",
    "serving/knative",
]


def of_kind(folder: str, kind: str) -> list[Resource]:
    return [resource for resource in rendered(folder) if resource["kind"] == kind]


def runtime_containers(folder: str = "serving/runtimes") -> Iterator[tuple[str, Resource]]:
    for runtime in of_kind(folder, "ServingRuntime"):
        for container in runtime["spec"]["containers"]:
            yield runtime["metadata"]["name"], container


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_resource_is_as_its_crd_has_it(folder: str, schemas: dict[tuple[str, str], Resource]) -> None:
    checked = 0
    for resource in rendered(folder):
        if "." not in resource["apiVersion"]:
            continue
        found = errors(resource, schemas[resource["apiVersion"], resource["kind"]])
        assert found == [], resource["metadata"]["name"]
        checked += 1
    assert checked >= 2


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("spec", "predictor", "model", "bundle"), "x", "spec.predictor.model.bundle: unknown field"),
        (("spec", "predictor", "minReplicas"), "two", "is not of type 'integer'"),
        (("spec", "predictor", "scaleMetric"), "joy", "is not one of"),
    ],
)
def test_the_check_itself_finds_mistakes(
    path: tuple[str, ...], value: object, words: str, schemas: dict[tuple[str, str], Resource]
) -> None:
    service = of_kind("serving/standard", "InferenceService")[0]
    place: Any = service
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    found = errors(service, schemas[service["apiVersion"], service["kind"]])
    assert any(words in each for each in found), found


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_the_pair_differs_in_arm_and_bundle_alone(folder: str) -> None:
    services = {each["metadata"]["name"]: each for each in of_kind(folder, "InferenceService")}
    assert set(services) == {"ranker-mmoe", "ranker-mgoe"}
    assert repr(services["ranker-mmoe"]).replace("mmoe", "mgoe") == repr(services["ranker-mgoe"])
    for name, service in services.items():
        model = service["spec"]["predictor"]["model"]
        assert model["args"] == [f"--arm={name.removeprefix('ranker-')}"]
        assert model["storage"]["key"] == "mgoe"
        assert model["runtime"] in {runtime for runtime, _ in runtime_containers(folder)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_containers_are_locked_down(folder: str) -> None:
    for name, container in runtime_containers(folder):
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name
        server = "torchserve" if "torchserve" in name else "serve"
        assert container["image"] == f"mgoe/{server}:0.1.0", name


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_pods_carry_no_service_account_token(folder: str) -> None:
    for service in of_kind(folder, "InferenceService"):
        predictor = service["spec"]["predictor"]
        assert predictor["automountServiceAccountToken"] is False
        assert predictor["securityContext"]["runAsNonRoot"] is True


def test_every_container_has_the_three_probes_on_a_port_that_it_opens() -> None:
    for name, container in runtime_containers():
        ports = {port["containerPort"] for port in container["ports"]}
        assert len(ports) == 1, f"{name}: Knative takes one port"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]
            assert "exec" in asked or asked["httpGet"]["port"] in ports, name


def test_liveness_does_not_wait_for_the_bundle() -> None:
    for name, container in runtime_containers():
        assert container["livenessProbe"] == container["livenessProbe"] | {
            "httpGet": container["startupProbe"]["httpGet"]
        }
        assert container["readinessProbe"].get("httpGet") != container["livenessProbe"]["httpGet"], name


def test_the_kserve_runtime_calls_the_command_with_options_that_it_has() -> None:
    [container] = [container for name, container in runtime_containers() if name == "mgoe-kserve"]
    known = options_of("serve")
    assert container["args"][0] == "serve"
    used = [argument.split("=")[0] for argument in [*container["args"][1:], "--arm=mmoe"]]
    assert set(used) <= known
    assert "--bundle=/mnt/models" in container["args"]


def test_a_prepared_pod_fills_the_cache_that_its_server_reads() -> None:
    [container] = [container for name, container in runtime_containers() if name == "mgoe-kserve"]
    [cache] = [argument for argument in container["args"] if argument.startswith("--cache=")]
    for service in of_kind("serving/standard-prepared", "InferenceService"):
        [prepare] = service["spec"]["predictor"]["initContainers"]
        command, *arguments = prepare["args"]
        assert {argument.split("=")[0] for argument in arguments} <= options_of(command)
        assert cache in arguments
        assert prepare["volumeMounts"] == container["volumeMounts"]
        assert prepare["securityContext"] == container["securityContext"]
        storage = service["spec"]["predictor"]["model"]["storage"]
        assert f"--bundle=s3://{storage['parameters']['bucket']}/{storage['path']}" in arguments


def options_of(command: str) -> set[str]:
    group: Any = get_command(app)
    return {option for parameter in group.commands[command].params for option in parameter.opts}


def test_the_torchserve_runtime_calls_its_command_with_options_that_it_has() -> None:
    [options] = of_kind("serving/runtimes", "ConfigMap")
    found = ServerOptions.model_validate(yaml.safe_load(options["data"]["options.yaml"]))
    assert found.tokens
    [container] = [container for name, container in runtime_containers() if name == "mgoe-torchserve"]
    for arguments in (container["args"], container["readinessProbe"]["exec"]["command"][1:]):
        room, name, *rest = arguments
        assert room == "torchserve"
        command = get_command(torchserve_app).commands[name]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {option.split("=")[0] for option in rest if option.startswith("--")} <= known
    assert {port["containerPort"] for port in container["ports"]} == {found.port}


def test_a_standard_pod_has_longer_to_end_than_its_drain_takes() -> None:
    [container] = [container for name, container in runtime_containers() if name == "mgoe-kserve"]
    seconds = sum(
        int(found[1])
        for argument in container["args"]
        if (found := re.fullmatch(r"--(?:settle|drain)=(\d+)", argument)) is not None
    )
    for service in of_kind("serving/standard", "InferenceService"):
        assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] > seconds + 5


@pytest.mark.parametrize(
    ("folder", "mode", "scaler"),
    [
        ("serving/standard", "Standard", "hpa"),
        ("serving/standard-keda", "Standard", "keda"),
        ("serving/knative", "Knative", None),
    ],
)
def test_each_folder_has_its_mode_and_its_scaler(folder: str, mode: str, scaler: str | None) -> None:
    for service in of_kind(folder, "InferenceService"):
        notes = service["metadata"]["annotations"]
        assert notes["serving.kserve.io/deploymentMode"] == mode
        assert notes.get("serving.kserve.io/autoscalerClass") == scaler
        assert ("autoScaling" in service["spec"]["predictor"]) == (scaler == "keda")


def test_the_example_secret_is_in_no_kustomization() -> None:
    assert all(resource["kind"] != "Secret" for folder in FOLDERS for resource in rendered(folder))
