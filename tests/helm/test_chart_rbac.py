"""Roles allow what the code calls and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from helm.engine import Engine
from serving.gateway.config_map import VERBS as AGENT_VERBS
from serving.rollout.lease import LeaseSettings
from tests.helm.api_calls import Right, calls, desk_calls
from tests.helm.objects import Object, named, objects_of, of_kind

KOPF = {Right("mgoe.dev", "modelrollouts", verb) for verb in ("list", "watch")}
"""What kopf itself asks for the resource that it hears: https://docs.kopf.dev/en/stable/deployment/#rbac."""
Case = Mapping[str, list[Object]]


def rights(case: Case, prefix: str) -> set[Right]:
    roles = [
        each
        for kind in ("Role", "ClusterRole")
        for each in of_kind(case, kind)
        if each["metadata"]["name"].startswith(prefix)
    ]
    return {
        Right(group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("case", ["default", "full"])
def test_the_operator_may_do_what_it_calls_and_nothing_else(case: str, cases: dict[str, Case]) -> None:
    allowed, called = rights(cases[case], "mgoe-operator"), calls("serving/rollout")
    assert called
    assert called - allowed == set(), "called, not allowed"
    assert allowed - called - KOPF == set(), "allowed, never called"


def test_the_console_reads_rollouts_changes_their_spec_and_nothing_else(cases: dict[str, Case]) -> None:
    called = desk_calls("serving/console")
    assert rights(cases["full"], "mgoe-console") == called
    assert {each.verb for each in called} == {"get", "list", "patch"}
    assert calls("serving/console") == set(), "called past the desk"
    assert rights(cases["default"], "mgoe-console") == set()


def test_the_agent_may_read_one_config_map(cases: dict[str, Case]) -> None:
    role = named(cases["default"], "Role", "mgoe-gateway")
    [rule] = role["rules"]
    assert set(rule["verbs"]) == set(AGENT_VERBS)
    assert rule["resources"] == ["configmaps"]
    pod: Any = named(cases["default"], "Deployment", "mgoe-gateway")["spec"]["template"]["spec"]
    [agent] = [each for each in pod["containers"] if each["name"] == "agent"]
    assert f"--name={rule['resourceNames'][0]}" in agent["args"]
    assert named(cases["default"], "ConfigMap", rule["resourceNames"][0])


def test_the_operator_writes_that_config_map_and_that_lease_by_name(cases: dict[str, Case]) -> None:
    role = named(cases["default"], "Role", "mgoe-operator")
    [maps] = [rule for rule in role["rules"] if rule["resources"] == ["configmaps"]]
    assert maps["resourceNames"] == ["mgoe-gateway"]
    lease = named(cases["default"], "Role", "mgoe-operator-lease")
    [kept] = [rule for rule in lease["rules"] if "resourceNames" in rule]
    assert kept["resourceNames"] == [LeaseSettings("ranking", "x").name]


@pytest.mark.parametrize("case", ["default", "full", "production"])
def test_nobody_reads_secrets_uses_stars_or_is_bound_beyond_his_role(case: str, cases: dict[str, Case]) -> None:
    for right in rights(cases[case], ""):
        assert right.resource != "secrets"
        assert "*" not in right
    roles = {
        (each["kind"], each["metadata"]["name"])
        for kind in ("Role", "ClusterRole")
        for each in of_kind(cases[case], kind)
    }
    accounts = {each["metadata"]["name"] for each in of_kind(cases[case], "ServiceAccount")}
    bindings = [*of_kind(cases[case], "RoleBinding"), *of_kind(cases[case], "ClusterRoleBinding")]
    assert {(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings} == roles
    for binding in bindings:
        assert {subject["name"] for subject in binding["subjects"]} <= accounts


def test_gateways_of_other_releases_are_named_one_by_one(engine: Engine) -> None:
    case = objects_of(engine.render({"operator": {"gateways": ["other-gateway"], "clusterWide": True}}))
    [role] = of_kind(case, "ClusterRole")
    [maps] = [rule for rule in role["rules"] if rule["resources"] == ["configmaps"]]
    assert maps["resourceNames"] == ["mgoe-gateway", "other-gateway"]
    peer = {"namespaceSelector": {"matchLabels": {"a": "b"}}}
    policy = objects_of(engine.render({"gateway": {"operators": [peer]}}))["gateway/networkpolicy.yaml"][0]
    assert peer in policy["spec"]["ingress"][1]["from"]


def test_only_a_cluster_wide_operator_has_a_cluster_role(cases: dict[str, Case]) -> None:
    assert of_kind(cases["default"], "ClusterRole") == []
    [role] = of_kind(cases["full"], "ClusterRole")
    assert role["metadata"]["name"] == "mgoe-operator-ranking"


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"operator": {"kserve": False}}, "inferenceservices"),
        ({"operator": {"scaling": False}}, "deployments/scale"),
        ({"gateway": {"enabled": False}}, "configmaps"),
    ],
)
def test_a_right_goes_with_what_needs_it(values: dict[str, Any], gone: str, engine: Engine) -> None:
    kept = {right.resource for right in rights(objects_of(engine.render(values)), "mgoe-operator")}
    assert gone not in kept
    assert "modelrollouts" in kept
