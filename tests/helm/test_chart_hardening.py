"""Pods are locked down, secrets travel by reference, and nobody reaches what he does not need."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from helm.engine import CHART, Engine
from helm.golden import CASES
from tests.helm.objects import Object, containers, every, named, of_kind, pods

Cases = dict[str, dict[str, list[Object]]]
WITH_TOKEN = {"Deployment/mgoe-operator", "Deployment/mgoe-console"}
ALL = [pytest.param(case, id=case) for case in CASES]


@pytest.mark.parametrize("case", ALL)
def test_no_container_is_root_writes_to_its_image_or_has_a_capability(case: str, cases: Cases) -> None:
    checked = 0
    for name, pod in pods(cases[case]):
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]), name
        for container in containers(pod):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert own["seccompProfile"] == {"type": "RuntimeDefault"}, name
            checked += 1
    assert checked >= 7


@pytest.mark.parametrize("case", ALL)
def test_only_who_calls_the_api_server_has_a_token(case: str, cases: Cases) -> None:
    for name, pod in pods(cases[case]):
        assert pod["spec"]["automountServiceAccountToken"] is (name in WITH_TOKEN), name
        projected = [each for each in pod["spec"]["volumes"] if "projected" in each]
        assert bool(projected) == (name == "Deployment/mgoe-gateway"), name
    for account in of_kind(cases[case], "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_of_the_gateways_containers_the_agent_alone_sees_the_token(cases: Cases) -> None:
    pod = named(cases["default"], "Deployment", "mgoe-gateway")["spec"]["template"]
    seeing = [
        each["name"]
        for each in containers(pod)
        if any("serviceaccount" in mount["mountPath"] for mount in each["volumeMounts"])
    ]
    assert seeing == ["agent"]


@pytest.mark.parametrize("case", ALL)
def test_every_container_has_bounds_and_probes(case: str, cases: Cases) -> None:
    for name, pod in pods(cases[case]):
        for container in containers(pod):
            assert set(container["resources"]) == {"requests", "limits"}, name
        if not name.startswith("Job/"):
            for container in pod["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= set(container), f"{name} {container['name']}"


@pytest.mark.parametrize("case", ALL)
def test_every_mount_is_a_volume_and_every_volume_is_mounted(case: str, cases: Cases) -> None:
    for each in every(cases[case]):
        if each["kind"] not in {"Deployment", "StatefulSet", "Job"}:
            continue
        pod = each["spec"]["template"]
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        volumes |= {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())}
        mounts = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", ())}
        assert mounts == volumes, each["metadata"]["name"]


@pytest.mark.parametrize("case", ALL)
def test_selectors_find_exactly_their_pods(case: str, cases: Cases) -> None:
    """Of services, budgets, policies, and of the workloads themselves."""
    found = {name: pod["metadata"]["labels"] for name, pod in pods(cases[case])}
    for each in every(cases[case]):
        selector = _selector(each)
        if selector is None:
            continue
        matched = [name for name, labels in found.items() if selector.items() <= labels.items()]
        assert len(matched) == 1, f"{each['kind']}/{each['metadata']['name']} selects {matched}"


def _selector(each: Object) -> dict[str, str] | None:
    spec: Any = each.get("spec", {})
    if each["kind"] == "Service":
        return dict(spec["selector"])
    if each["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"]["matchLabels"])
    if each["kind"] in {"PodDisruptionBudget", "Deployment", "StatefulSet"}:
        return dict(spec["selector"]["matchLabels"])
    return None


@pytest.mark.parametrize("case", ALL)
def test_ports_by_name_are_ports_of_the_pod(case: str, cases: Cases) -> None:
    for name, pod in pods(cases[case]):
        ports = {port["name"] for container in containers(pod) for port in container.get("ports", ())}
        labels = pod["metadata"]["labels"]
        for each in [*of_kind(cases[case], "Service"), *of_kind(cases[case], "NetworkPolicy")]:
            if not (_selector(each) or {}).items() <= labels.items():
                continue
            spec = each["spec"]
            wanted = [port["targetPort"] for port in spec.get("ports", ())]
            wanted += [port["port"] for rule in spec.get("ingress", ()) for port in rule.get("ports", ())]
            assert {port for port in wanted if isinstance(port, str)} <= ports, name


@pytest.mark.parametrize("case", ALL)
def test_every_workload_that_serves_has_a_network_policy(case: str, cases: Cases) -> None:
    policies = [_selector(each) or {} for each in of_kind(cases[case], "NetworkPolicy")]
    for name, pod in pods(cases[case]):
        if not name.startswith("Job/"):
            assert any(each.items() <= pod["metadata"]["labels"].items() for each in policies), name


def test_no_policy_is_left_where_policies_are_off(engine: Engine) -> None:
    text = "\n".join(engine.render({**CASES["full"], "networkPolicy": {"enabled": False}}).values())
    assert "kind: NetworkPolicy" not in text


SECRET = re.compile(r"password|token|secret|_KEY|://[^/\s]+:[^/\s]+@", re.IGNORECASE)
HARMLESS = {"--token=/etc/mgoe-evidence/write-token", "--tokens=/etc/mgoe/console/tokens"}


@pytest.mark.parametrize("case", ALL)
def test_no_secret_is_in_a_config_map_an_argument_or_a_plain_variable(case: str, cases: Cases) -> None:
    for each in of_kind(cases[case], "ConfigMap"):
        # The second one makes a role; its password is in a variable.
        if each["metadata"]["name"] not in {"mgoe-dashboard", "mgoe-postgresql-console"}:
            text = yaml.safe_dump(each.get("data", {})).replace("tokens: true", "")  # an option of TorchServe
            assert not SECRET.search(text), each["metadata"]["name"]
    for name, pod in pods(cases[case]):
        for container in containers(pod):
            words = {*container.get("args", ()), *container.get("command", ())} - HARMLESS
            assert not [word for word in words if SECRET.search(word)], name
            plain = [each for each in container.get("env", ()) if SECRET.search(each["name"]) and "value" in each]
            assert plain == [], name


def test_generated_secrets_reach_nothing_but_secrets(engine: Engine) -> None:
    rendered = engine.render(CASES["full"])
    made = set(re.findall(r"[A-Za-z0-9]{20,}", rendered["evidence/secret.yaml"]))
    made |= set(re.findall(r"password: (\S+)", rendered["postgresql/secret.yaml"]))
    made |= set(re.findall(r"AWS_\w+: (\S+)", rendered["objectstore/secret.yaml"]))
    made |= set(re.findall(r"[A-Za-z0-9]{20,}", rendered["console/secret.yaml"]))
    assert len(made) == 3 + 1 + 2 + (3 + 1)
    for path, text in rendered.items():
        if not path.endswith("/secret.yaml"):
            assert not [each for each in made if each in text], path


def test_existing_secrets_are_used_and_none_is_made(engine: Engine) -> None:
    values = {
        "evidence": {"tokens": {"existingSecret": "mine-tokens"}, "database": {"existingSecret": "mine-database"}},
        "postgresql": {"existingSecret": "mine-postgresql"},
        "objectStore": {"enabled": True, "existingSecret": "mine-s3", "storageConfig": False},
        "mlflow": {"enabled": True, "existingSecret": "mine-mlflow"},
        "console": {
            "enabled": True,
            "tokens": {"existingSecret": "mine-people"},
            "database": {"existingSecret": "mine-audit"},
        },
    }
    rendered = engine.render(values)
    assert "kind: Secret\n" not in "\n".join(text for path, text in rendered.items() if path != "NOTES.txt")
    for path, secret in {
        "evidence/deployment.yaml": "mine-tokens",
        "evidence/migration.yaml": "mine-database",
        "gateway/deployment.yaml": "mine-tokens",
        "operator/deployment.yaml": "mine-database",
        "postgresql/statefulset.yaml": "mine-postgresql",
        "objectstore/statefulset.yaml": "mine-s3",
        "mlflow/deployment.yaml": "mine-mlflow",
        "console/deployment.yaml": "mine-audit",
    }.items():
        assert secret in rendered[path], path


def test_what_was_made_once_is_read_from_the_cluster_before_it_is_made_again() -> None:
    """The engine has no cluster here: this holds the templates to the one way that looks first."""
    for path in (CHART / "templates").rglob("*"):
        if path.is_file() and "rand" in path.read_text():
            assert path.name == "_names.tpl"
    kept = (CHART / "templates/_names.tpl").read_text()
    assert re.search(r"lookup .v1. .Secret.*\n.*dig .data..*\n.*if \$kept.*b64dec.*else.*randAlphaNum", kept)
