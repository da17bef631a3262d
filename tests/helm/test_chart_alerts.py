"""Alerts fire when they should, and alerts and dashboard ask for metrics that our code exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from helm.engine import CHART
from serving.evidence.telemetry import Telemetry
from serving.gateway.agent import Agent, Health
from serving.gateway.agent_metrics import AgentMetrics
from serving.gateway.split import Split
from serving.ranker.metrics import RankerMetrics
from serving.rollout.telemetry import Telemetry as RolloutTelemetry
from tests.helm.objects import Object, of_kind

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
CASES_FILE = Path(__file__).with_name("alerts_test.yaml")
_SUFFIXES = ("_bucket", "_sum", "_count", "_total")


def rules() -> list[Object]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, str]]:
    """(title, query) of every panel."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def promtool(*arguments: str, folder: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_alerts_and_they_fire_as_their_tests_say(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(CASES_FILE, tmp_path)
    promtool("check", "rules", ALERTS.name, folder=tmp_path)
    assert "SUCCESS" in promtool("test", "rules", CASES_FILE.name, folder=tmp_path)


def test_every_alert_is_seen_firing() -> None:
    tested = {
        each["alertname"]
        for group in yaml.safe_load(CASES_FILE.read_text())["tests"]
        for each in group["alert_rule_test"]
        if each["exp_alerts"]
    }
    assert tested == {rule["alert"] for rule in rules()}


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    recorded = [{"record": f"panel_{place}", "expr": _plain(query)} for place, (_, query) in enumerate(panels())]
    assert len(recorded) > 15
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", "panels.yaml", folder=tmp_path)


def _plain(query: str) -> str:
    return query.replace("$__range", "1h").replace("$namespace", "ranking")


ENVOY = {"envoy_cluster_upstream_rq_completed", "envoy_cluster_upstream_rq_xx", "envoy_cluster_upstream_rq_time"}
"""Envoy's; tests/serving/gateway/test_agent.py finds them at a real one."""


def exported() -> set[str]:
    """Names of the families that our code exports, and Envoy's."""
    families = {family.name for family in RankerMetrics().registry.collect()}
    for rendered in (Telemetry().render(), RolloutTelemetry().render()):
        families |= {line.split()[2] for line in rendered.decode().splitlines() if line.startswith("# TYPE")}
    families |= {family.name for family in AgentMetrics(agent()).collect()}
    return {_family(name) for name in families | ENVOY}


def agent() -> Agent:
    """An agent whose Envoy runs, without one."""
    hosts = {arm: SimpleNamespace(healthy=1, known=2) for arm in ("baseline", "candidate")}
    live: Any = SimpleNamespace(weights=lambda: Split("e", "s"), hosts=lambda: hosts)
    spool = SimpleNamespace(waiting_bytes=0, lost_bytes=0)
    made: Any = SimpleNamespace(live=live, health=Health(lines=Counter()), sender=SimpleNamespace(spool=spool))
    return made  # type: ignore[no-any-return]


def _family(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def test_alerts_and_dashboard_ask_for_nothing_that_nobody_exports() -> None:
    known = exported()
    asked = [(rule["alert"], rule["expr"]) for rule in rules()] + list(panels())
    for title, query in asked:
        metrics = set(re.findall(r"\b((?:mgoe|envoy)_[a-z0-9_]+)\b", _without_labels(query)))
        assert metrics, title
        assert {_family(name) for name in metrics} <= known, title


def _without_labels(query: str) -> str:
    """Without matchers and grouping labels, whose names are none of metrics."""
    bare = re.sub(r"\{[^}]*\}", "", query)
    return re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)


def test_the_check_of_names_finds_a_name_that_is_none() -> None:
    assert _family("mgoe_gateway_wieght") not in exported()
    assert _without_labels('sum by (mgoe_x) (rate(mgoe_rank_requests_total{arm="mgoe_y"}[1m]))') == (
        "sum  (rate(mgoe_rank_requests_total[1m]))"
    )


def test_labels_that_queries_use_are_labels_that_are_exported() -> None:
    labels = {"mgoe_rank_refusals": {"arm", "reason"}, "mgoe_gateway_exposures": {"kind"}}
    for family, names in labels.items():
        for title, query in [(rule["alert"], rule["expr"]) for rule in rules()]:
            for matchers in re.findall(rf"{family}\w*\{{([^}}]*)\}}", query):
                assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= names, title


def test_the_reasons_that_alerts_name_are_reasons_that_are_counted() -> None:
    from serving.ranker import refusal

    reasons = {each.reason for each in vars(refusal).values() if isinstance(each, type) and hasattr(each, "reason")}
    named = re.findall(r'reason="(\w+)"', ALERTS.read_text())
    assert named
    assert set(named) <= reasons


def test_the_chart_ships_both_as_they_are(cases: dict[str, dict[str, list[Object]]]) -> None:
    [rule] = of_kind(cases["full"], "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    [dashboard] = [each for each in of_kind(cases["full"], "ConfigMap") if each["metadata"]["name"] == "mgoe-dashboard"]
    assert json.loads(dashboard["data"]["mgoe.json"]) == json.loads(DASHBOARD.read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_every_panel_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
