import os
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from model.errors import UserError
from pipelines.golden import NIGHTLY
from pipelines.schedule import Schedule, cron_workflow

PIPELINE = "root: {}\n"


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


def test_a_wrong_cron_line_is_refused() -> None:
    with pytest.raises(UserError, match="five fields"):
        cron_workflow(Schedule(cron="@daily", endpoint="http://x", experiment="e"), PIPELINE)
