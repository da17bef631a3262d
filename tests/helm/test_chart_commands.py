"""Containers call our commands with options that they have, and read what our code writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from helm.engine import Engine
from serving.console.commands import app as console
from serving.evidence.commands import app as evidence
from serving.evidence.tokens import SHORTEST, Tokens
from serving.gateway.bootstrap import READY_PATH, bootstrap
from serving.gateway.commands import app as gateway
from serving.gateway.config import GatewayConfig, parse_config
from serving.gateway.folder import BOOTSTRAP_FILE, GatewayFolder, render
from serving.gateway.split import Split
from serving.rollout.commands import app as rollout
from tests.helm.objects import Object, containers, named, objects_of, of_kind, pods

Cases = dict[str, dict[str, list[Object]]]
APPS = {"gateway": gateway, "evidence": evidence, "rollout": rollout, "console": console}


@pytest.mark.parametrize("case", ["default", "full", "production"])
def test_our_containers_call_commands_and_options_that_there_are(case: str, cases: Cases) -> None:
    seen = set()
    for name, pod in pods(cases[case]):
        for container in containers(pod):
            if not container["image"].rpartition("/")[2].startswith("control:"):
                continue
            room, command, *rest = container["args"]
            seen.add((room, command))
            group: Any = get_command(APPS[room])
            known = {option for each in group.commands[command].params for option in (*each.opts, *each.secondary_opts)}
            assert {word.split("=")[0] for word in rest} <= known, name
    assert {("gateway", "render"), ("gateway", "agent"), ("evidence", "serve"), ("evidence", "migrate")} <= seen


@pytest.mark.parametrize("case", ["default", "full", "production"])
def test_the_operators_environment_is_what_its_command_reads(case: str, cases: Cases) -> None:
    group: Any = get_command(rollout)
    parameters = {each.envvar: each for each in group.commands["operator"].params if each.envvar}
    pod = named(cases[case], "Deployment", "mgoe-operator")["spec"]["template"]["spec"]
    given = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert set(given) - {"MGOE_POD"} <= set(parameters)
    assert {name for name, each in parameters.items() if each.required} <= set(given)
    assert given["MGOE_GATEWAY"] == "mgoe-gateway"
    assert named(cases[case], "ConfigMap", given["MGOE_GATEWAY"])
    [port] = [each.default for each in group.commands["operator"].params if each.name == "port"]
    assert [each["containerPort"] for each in pod["containers"][0]["ports"]] == [port]


def settings_of(case: dict[str, list[Object]]) -> GatewayConfig:
    return parse_config(named(case, "ConfigMap", "mgoe-gateway-settings")["data"]["gateway.yaml"], "settings")


def test_the_gateways_settings_are_a_configuration_of_ours(cases: Cases, engine: Engine) -> None:
    assert settings_of(cases["default"]).baseline.endpoints[0].host == "ranker-mmoe-predictor.ranking.svc"
    assert settings_of(cases["full"]).grpc
    changed = objects_of(engine.render({"gateway": {"settings": {"timeouts": {"request": 0.5}}}}))
    assert settings_of(changed).timeouts.request == 0.5


def test_envoy_is_started_as_the_local_gateway_starts_it(cases: Cases) -> None:
    config = settings_of(cases["default"])
    pod = named(cases["default"], "Deployment", "mgoe-gateway")["spec"]["template"]
    envoy, agent = pod["spec"]["containers"]
    [render_container] = pod["spec"]["initContainers"]
    folder = GatewayFolder(Path("/var/lib/mgoe/gateway"))
    [out] = [word.partition("=")[2] for word in render_container["args"] if word.startswith("--out=")]
    assert Path(out) == folder.root
    assert f"--folder={folder.root}" in agent["args"]
    command = envoy["command"]
    assert command[command.index("--config-path") + 1] == f"{folder.root}/{BOOTSTRAP_FILE}"
    assert command[command.index("--admin-address-path") + 1] == f"{folder.root}/admin.address"
    assert command[command.index("--file-flush-interval-msec") + 1] == "200"
    assert envoy["ports"] == [{"name": "http", "containerPort": config.listener.port}]
    assert envoy["readinessProbe"]["httpGet"]["path"] == READY_PATH


def test_envoys_admin_page_stays_on_loopback(cases: Cases, tmp_path: Path) -> None:
    told = bootstrap(settings_of(cases["full"]), xds=tmp_path, access_log=tmp_path / "access.log")
    assert told["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert render(settings_of(cases["full"]), Split("none", "none"), tmp_path)
    ports = [port["port"] for each in of_kind(cases["full"], "Service") for port in each["spec"]["ports"]]
    assert told["admin"]["address"]["socket_address"]["port_value"] not in ports


def test_envoy_outlives_its_drain_and_the_agent_outlives_envoy(cases: Cases) -> None:
    pod = named(cases["default"], "Deployment", "mgoe-gateway")["spec"]["template"]["spec"]
    envoy, agent = pod["containers"]
    drained = sum(int(word.partition("=")[2]) for word in agent["args"] if word.startswith(("--settle=", "--drain=")))
    assert drained < envoy["lifecycle"]["preStop"]["sleep"]["seconds"] < pod["terminationGracePeriodSeconds"] - 5


def test_the_evidence_service_accepts_the_tokens_that_are_made(engine: Engine) -> None:
    [secret] = yaml.safe_load_all(engine.render({})["evidence/secret.yaml"])
    made = secret["stringData"]
    assert len(set(made.values())) == 3
    assert min(map(len, made.values())) >= SHORTEST
    environment = {f"MGOE_EVIDENCE_{key.partition('-')[0].upper()}_TOKEN": value for key, value in made.items()}
    assert Tokens.load(None, environment).roles(made["write-token"]) == {"write"}
    pod = named(objects_of(engine.render({})), "Deployment", "mgoe-evidence")["spec"]["template"]["spec"]
    read = {each["name"] for each in pod["containers"][0]["env"]}
    assert set(environment) <= read


def test_the_split_has_no_data_in_the_chart_so_no_upgrade_moves_traffic(cases: Cases) -> None:
    for case in cases.values():
        assert set(named(case, "ConfigMap", "mgoe-gateway")) == {"apiVersion", "kind", "metadata"}


def test_with_an_autoscaler_nothing_else_sets_the_replicas(cases: Cases) -> None:
    assert "replicas" not in named(cases["full"], "Deployment", "mgoe-gateway")["spec"]
    [scaler] = of_kind(cases["full"], "HorizontalPodAutoscaler")
    assert named(cases["full"], "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
    names = [
        each["name"]
        for each in named(cases["full"], "Deployment", "mgoe-gateway")["spec"]["template"]["spec"]["containers"]
    ]
    assert scaler["spec"]["metrics"][0]["containerResource"]["container"] in names


def test_notes_say_what_to_do_next(engine: Engine) -> None:
    notes = engine.render({})["NOTES.txt"]
    for words in (
        "x-mgoe-unit",
        "kubectl -n ranking apply -f rollout.yaml",
        "delete mro --all",
        "get secret mgoe-evidence-tokens",
    ):
        assert words in notes
    without = engine.render({"gateway": {"enabled": False}})["NOTES.txt"]
    assert "x-mgoe-unit" not in without
    assert "console" not in notes
    page = engine.render({"console": {"enabled": True}})["NOTES.txt"]
    assert "port-forward svc/mgoe-console 8091:80" in page
    assert "get secret mgoe-console -o jsonpath='{.data.steer-token}'" in page
    people = engine.render({"console": {"enabled": True, "tokens": {"existingSecret": "people"}}})["NOTES.txt"]
    assert "in the secret people" in people
    assert "steer-token" not in people


def test_an_own_database_is_migrated_before_anything_else_changes(cases: Cases) -> None:
    [job] = of_kind(cases["production"], "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert of_kind(cases["default"], "Job") == []
    for case in cases.values():
        pod = named(case, "Deployment", "mgoe-evidence")["spec"]["template"]["spec"]
        assert pod["initContainers"][0]["args"] == ["evidence", "migrate"]


def test_the_crd_and_what_opens_a_kept_volume_stay_at_uninstall(engine: Engine) -> None:
    case = objects_of(engine.render({"objectStore": {"enabled": True}}))
    kept = {
        each["metadata"]["name"]
        for objects in case.values()
        for each in objects
        if (each["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {"modelrollouts.mgoe.dev", "mgoe-postgresql", "mgoe-s3"}
    let_go = objects_of(engine.render({"crd": {"keep": False}}))
    assert "annotations" not in let_go["crd.yaml"][0]["metadata"]


@pytest.mark.parametrize("kind", ["seaweedfs", "minio"])
def test_the_object_store_has_the_keys_that_its_clients_get(kind: str, engine: Engine) -> None:
    case = objects_of(engine.render({"objectStore": {"enabled": True, "kind": kind}}))
    keys = named(case, "Secret", "mgoe-s3")["stringData"]
    storage = yaml.safe_load(named(case, "Secret", "storage-config")["stringData"]["mgoe"])
    assert (storage["access_key_id"], storage["secret_access_key"]) == (
        keys["AWS_ACCESS_KEY_ID"],
        keys["AWS_SECRET_ACCESS_KEY"],
    )
    assert storage["endpoint_url"] == keys["S3_ENDPOINT_URL"] == "http://mgoe-s3.ranking.svc:8333"
    assert ("s3.json" in keys) == (kind == "seaweedfs")
    [container] = named(case, "StatefulSet", "mgoe-s3")["spec"]["template"]["spec"]["containers"]
    assert container["name"] == kind


def test_runtimes_run_the_releases_own_image(engine: Engine) -> None:
    values = {"runtimes": {"kserve": True, "torchserve": True}, "image": {"registry": "r.example", "tag": "7"}}
    images = {
        container["image"]
        for each in of_kind(objects_of(engine.render(values)), "ServingRuntime")
        for container in each["spec"]["containers"]
    }
    assert images == {"r.example/mgoe/serve:7", "r.example/mgoe/torchserve:7"}


def test_monitors_scrape_ports_of_services_that_there_are(cases: Cases) -> None:
    services = of_kind(cases["full"], "Service")
    for monitor in of_kind(cases["full"], "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        [service] = [each for each in services if wanted.items() <= each["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_no_volume_of_a_policy_lets_the_namespace_reach_the_database(cases: Cases) -> None:
    policy = named(cases["full"], "NetworkPolicy", "mgoe-postgresql")
    [rule] = policy["spec"]["ingress"]
    components = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]}
    assert components == {"evidence", "operator", "mlflow", "console"}
