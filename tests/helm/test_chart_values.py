"""A value that is misspelt, of another kind or out of range is refused with a sentence that names it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from helm.engine import CHART, ChartError, Engine
from helm.values_schema import ChartValues, schema
from serving.gateway.config import GatewayConfig


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"replcas": 3}}, "replcas"),
        ({"gateway": {"envoy": {"resource": {}}}}, "resource"),
        ({"evidence": {"database": {"url": "postgresql://u:p@h/d"}}}, "url"),
        ({"gateway": {"replicas": "three"}}, "/gateway/replicas"),
        ({"gateway": {"replicas": 0}}, "/gateway/replicas"),
        ({"gateway": {"settings": {"listener": {"port": 1}}}}, "listener"),
        ({"operator": {"prometheus": "prometheus:9090"}}, "/operator/prometheus"),
        ({"objectStore": {"kind": "ceph"}}, "/objectStore/kind"),
        ({"postgresql": {"image": "postgres"}}, "/postgresql/image"),
        ({"evidence": {"resources": {"limits": {"memory": "1 GB"}}}}, "/evidence/resources/limits/memory"),
        ({"evidence": {"resources": {"limits": {"gpu": "1"}}}}, "gpu"),
        ({"monitoring": {"serviceMonitor": {"interval": "5"}}}, "/monitoring/serviceMonitor/interval"),
        ({"monitoring": {"serviceMonitor": {"interval": "60s"}}}, "/monitoring/serviceMonitor/interval"),
        ({"gateway": {"services": {"baseline": "one", "candidate": "one"}}}, "baseline and candidate are both one"),
        ({"console": {"enabled": True, "proxy": {"header": "X-User"}}}, r"console\.proxy\.cidrs: name the addresses"),
        ({"gateway": None}, "gateway"),
        ({"gateway": {"settings": {"timeouts": {"request": "1s"}}}}, "/gateway/settings/timeouts/request"),
        ({"gateway": {"settings": {"timeouts": {"reqest": 1}}}}, "reqest"),
        ({"commonLabels": {"app.kubernetes.io/component": "mine"}}, "app.kubernetes.io/component"),
        ({"gateway": {"autoscaling": {"enabled": True, "minReplicas": 20}}}, "minReplicas 20 is above maxReplicas 10"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], words: str, engine: Engine) -> None:
    with pytest.raises(ChartError, match=words):
        engine.render(values)


def test_without_any_database_it_says_what_to_name(engine: Engine) -> None:
    with pytest.raises(ChartError, match=r"evidence\.database\.existingSecret: name a Secret"):
        engine.render({"postgresql": {"enabled": False}})
    with pytest.raises(ChartError, match=r"mlflow\.existingSecret: name a Secret"):
        engine.render(
            {  # of two parts that lack a database the engine names either, so only one does
                "postgresql": {"enabled": False},
                "evidence": {"enabled": False},
                "operator": {"enabled": False},
                "mlflow": {"enabled": True},
            }
        )
    with pytest.raises(ChartError, match=r"console\.database\.existingSecret: name a Secret"):
        engine.render(
            {
                "postgresql": {"enabled": False},
                "evidence": {"database": {"existingSecret": "evidence-database"}},
                "console": {"enabled": True},
            }
        )


GATEWAYS = {"Timeouts", "Retries", "Health", "Outliers"}
"""Parts of the gateway's own configuration, whose fields are told in its file."""


def test_every_object_of_the_schema_is_closed_and_every_field_has_a_sentence() -> None:
    """Maps of the user's own keys (labels, tolerations) and the gateway's parts aside."""
    seen = 0
    for path, node in _objects(schema(), ""):
        if "properties" not in node or "serving__gateway" in path or path.rpartition("/")[2] in GATEWAYS:
            continue
        assert node["additionalProperties"] is False, path
        for name, each in node["properties"].items():
            assert "description" in each, f"{path}.{name}"
            seen += 1
    assert seen > 120


def _objects(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield path, node
        for key, each in node.items():
            yield from _objects(each, f"{path}/{key}")


def test_the_defaults_fit_the_models_and_leave_no_field_out() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    ChartValues.model_validate(defaults)
    assert set(ChartValues.model_fields) - {"global_"} == set(defaults)


def test_settings_of_the_gateway_are_those_of_its_configuration() -> None:
    parts = schema()["$defs"]["GatewaySettings"]["properties"]
    ours = {"version", "experiment", "baseline", "candidate", "listener", "admin"}
    assert set(parts) == set(GatewayConfig.model_fields) - ours


def test_the_chart_can_be_a_part_of_another(engine: Engine) -> None:
    assert engine.render({"global": {"storageClass": "fast"}}) != {}


def test_another_release_has_other_names(engine: Engine) -> None:
    text = "\n".join(engine.render({}, name="shop", namespace="other").values())
    names = {
        each["metadata"]["name"] for each in yaml.safe_load_all(engine.render({}, name="shop")["gateway/service.yaml"])
    }
    assert names == {"shop-mgoe-gateway", "shop-mgoe-gateway-agents"}
    assert "mgoe-gateway.ranking" not in text
    assert "namespace: ranking" not in text
