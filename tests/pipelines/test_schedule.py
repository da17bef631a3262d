import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from model.errors import UserError
from pipelines.golden import NIGHTLY
from pipelines.schedule import cron_workflow

PIPELINE = "root: {inputDefinitions: {parameters: {source: {}, store: {}}}}\n"


def crd() -> Path:
    root = os.environ.get("MGOE_CRDS")
    found = sorted(Path(root).glob("argo-workflows-*/argoproj.io_cronworkflows.yaml")) if root else []
    if not found:
        pytest.skip("MGOE_CRDS names no folder with argo-workflows-*/argoproj.io_cronworkflows.yaml")
    return found[-1]


def test_argo_accepts_the_schedule() -> None:
    resource = yaml.safe_load(cron_workflow(NIGHTLY, PIPELINE))
    definition = yaml.safe_load(crd().read_text())
    version = next(entry for entry in definition["spec"]["versions"] if entry["name"] == "v1alpha1")
    assert resource["apiVersion"] == "argoproj.io/v1alpha1"
    errors = list(Draft202012Validator(version["schema"]["openAPIV3Schema"]).iter_errors(resource))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_pipeline_travels_inside_the_workflow() -> None:
    template = yaml.safe_load(cron_workflow(NIGHTLY, PIPELINE))["spec"]["workflowSpec"]["templates"][0]
    artifact = template["inputs"]["artifacts"][0]
    assert artifact["raw"]["data"] == PIPELINE
    assert artifact["path"] in template["container"]["args"]


def test_a_schedule_starts_one_run_at_a_time_and_without_root() -> None:
    spec = yaml.safe_load(cron_workflow(NIGHTLY, PIPELINE))["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["workflowSpec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cron": "@daily"}, "five fields"),
        ({"cron": "99 3 * * *"}, "minute '99'"),
        ({"timezone": "Mars/X"}, "timezone 'Mars/X'"),
        ({"endpoint": "nonsense"}, "endpoint 'nonsense'"),
        ({"name": "Bad Name"}, "name 'Bad Name' is wrong"),
        ({"name": "a" * 53}, "at most 52"),
        ({"namespace": "Bad_NS"}, "namespace 'Bad_NS' is wrong"),
        ({"profile": "-a"}, "profile '-a' is wrong"),
        ({"arguments": {"foo": "1"}}, "parameter 'foo'"),
    ],
)
def test_a_wrong_field_is_refused_by_its_value(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        cron_workflow(replace(NIGHTLY, **wrong), PIPELINE)
