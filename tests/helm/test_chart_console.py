"""The console in a cluster: what it is started with is what it reads, and who may come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from helm.engine import ChartError, Engine
from serving.console.commands import app
from serving.console.session import key_of
from serving.console.tokens import read_tokens
from tests.helm.objects import Object, named, objects_of, of_kind

Cases = dict[str, dict[str, list[Object]]]


def container(case: dict[str, list[Object]]) -> dict[str, Any]:
    [found] = named(case, "Deployment", "mgoe-console")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_its_environment_and_options_are_what_its_command_reads(cases: Cases) -> None:
    command: Any = get_command(app)
    parameters = command.commands["serve"].params
    read = {name for each in parameters if each.envvar for name in [each.envvar]}
    given = {each["name"] for each in container(cases["full"])["env"]}
    assert given - {"MGOE_EVIDENCE_READ_TOKEN"} <= read
    words = dict(word.removeprefix("--").partition("=")[::2] for word in container(cases["full"])["args"][2:])
    assert words["namespace"] == "ranking"
    assert container(cases["full"])["ports"] == [{"name": "http", "containerPort": int(words["port"])}]


def test_the_tokens_and_the_key_that_are_made_are_those_that_it_takes(engine: Engine, tmp_path: Path) -> None:
    [secret] = yaml.safe_load_all(engine.render({"console": {"enabled": True}})["console/secret.yaml"])
    made = secret["stringData"]
    (tmp_path / "tokens").write_text(made["tokens"])
    (tmp_path / "key").write_text(made["key"])
    tokens = read_tokens(tmp_path / "tokens")
    roles = {name: tokens.owner(made[f"{name}-token"]) for name in ("view", "steer")}
    assert all(entry is not None and entry.person.role == name for name, entry in roles.items())
    assert len(key_of(tmp_path / "key")) >= 32


def test_a_secret_of_ones_own_is_mounted_and_none_is_made(engine: Engine) -> None:
    values = {"console": {"enabled": True, "tokens": {"existingSecret": "people"}}}
    case = objects_of(engine.render(values))
    assert of_kind({"console": case["console/secret.yaml"]}, "Secret") == []
    volumes = named(case, "Deployment", "mgoe-console")["spec"]["template"]["spec"]["volumes"]
    assert [each["secret"]["secretName"] for each in volumes if "secret" in each] == ["people"]


def test_behind_a_proxy_no_token_is_asked_for(engine: Engine) -> None:
    proxy = {"header": "X-Forwarded-User", "cidrs": ["10.0.0.0/8"], "steerUsers": ["ada"]}
    case = objects_of(engine.render({"console": {"enabled": True, "proxy": proxy, "hosts": ["rollouts.example.org"]}}))
    words = container(case)["args"]
    assert {"--trusted-header=X-Forwarded-User", "--trusted-proxy=10.0.0.0/8", "--steer-user=ada"} <= set(words)
    assert "--host=rollouts.example.org" in words
    assert not [word for word in words if word.startswith("--tokens")]


def test_nothing_of_it_is_reached_from_outside_the_cluster_by_default(cases: Cases) -> None:
    assert named(cases["full"], "Service", "mgoe-console")["spec"].get("type", "ClusterIP") == "ClusterIP"
    assert of_kind(cases["full"], "Ingress") == []
    assert named(cases["full"], "NetworkPolicy", "mgoe-console")["spec"]["ingress"][0]["from"]


@pytest.mark.parametrize("wrong", [{"proxy": {"cidrs": ["everywhere"]}}, {"replicas": 0}, {"tokens": {"inline": "x"}}])
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any], engine: Engine) -> None:
    with pytest.raises(ChartError, match="console"):
        engine.render({"console": {"enabled": True, **wrong}})
