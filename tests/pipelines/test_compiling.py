from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components

from components.train.placement import read_job
from model.errors import UserError
from model.graph.config import GraphConfig
from model.recipe import load_recipe
from pipelines.commands import Kind, form_of
from pipelines.compiling import compile_pipeline
from pipelines.form import Form, Resources, StepOptions, Trainer
from pipelines.golden import ROLLOUT
from pipelines.recipe_text import default_recipe, recipe_text, suited_text

RECIPE = "name: test\nbaseline:\n  architecture: mmoe\ncandidate:\n  architecture: mgoe\n"
SCHEMA = """
name: shop
interactions: {path: impressions, user: user_id, item: item_id, time: {column: timestamp}}
tasks: [{name: click, level: 1}]
"""
HISTORY = "history: {path: history, user: user_id, item: item_id, tasks: [click]}\n"


def documents(form: Form) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(compile_pipeline(form, RECIPE)))


def executor(spec: dict[str, Any], name: str) -> dict[str, Any]:
    container: dict[str, Any] = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
    return container


def test_compiling_twice_gives_the_same_text() -> None:
    assert compile_pipeline(Form(), RECIPE) == compile_pipeline(Form(), RECIPE)


@pytest.mark.parametrize("form", [Form(kind="local"), Form()], ids=["local", "cluster"])
def test_kfp_loads_the_compiled_file_and_its_recipe_is_the_given_one(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(compile_pipeline(form, RECIPE))
    loaded = components.load_component_from_file(str(path))
    assert load_recipe(loaded.component_spec.inputs["recipe"].default).name == "test"


def test_the_local_form_names_no_resources_and_leaves_reuse_to_the_steps() -> None:
    spec = documents(Form(kind="local"))[0]
    assert not [task for task in spec["root"]["dag"]["tasks"].values() if task["cachingOptions"].get("enableCache")]
    assert "resources" not in executor(spec, "train")


def test_options_of_one_step_reach_that_step_alone() -> None:
    options = StepOptions(
        image="other:1", resources=Resources(cpu="8", memory="64Gi", gpus=2), retries=0, caching=False
    )
    spec = documents(Form(steps={"train-candidate": options}))[0]
    tasks = spec["root"]["dag"]["tasks"]
    baseline, candidate = executor(spec, "train"), executor(spec, "train-2")
    assert candidate["image"] == "other:1"
    assert candidate["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert candidate["resources"]["accelerator"]["resourceCount"] == "2"
    assert "accelerator" not in baseline["resources"]
    assert "retryPolicy" not in tasks["train-2"]
    assert tasks["train"]["retryPolicy"]["maxRetryCount"] == 2
    assert not tasks["train-2"]["cachingOptions"].get("enableCache")
    assert tasks["train"]["cachingOptions"]["enableCache"]


def test_secrets_that_are_not_wanted_stay_away_from_the_jobs_too() -> None:
    form = Form(trainer=Trainer(kind="rayjob"), s3_secret=None, registry_secret=None)
    tasks = documents(form)[0]["root"]["dag"]["tasks"]
    for name in ("train", "train-2"):
        job = read_job(tasks[name]["inputs"]["parameters"]["job"]["runtimeValue"]["constant"])
        assert (job.s3_secret, job.registry_secret) == (None, None)


def test_nothing_is_rolled_out_unless_a_rollout_is_named() -> None:
    assert "register-rollout" not in documents(Form())[0]["root"]["dag"]["tasks"]
    tasks = documents(Form(rollout=ROLLOUT))[0]["root"]["dag"]["tasks"]
    assert "register" in tasks["register-rollout"]["dependentTasks"]
    given = tasks["register-rollout"]["inputs"]["parameters"]
    assert given["rollout"]["runtimeValue"]["constant"] == ROLLOUT
    assert "rollouts" not in given


def test_on_one_machine_the_rollout_goes_into_the_local_controllers_store(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(ROLLOUT)
    spec = documents(form_of(Kind.local, None, rollout=file))[0]
    given = spec["root"]["dag"]["tasks"]["register-rollout"]["inputs"]["parameters"]
    assert given["rollouts"]["runtimeValue"]["constant"] == str(Path("runs/stack/rollouts.db").absolute())


def test_a_rollout_that_does_not_fit_is_refused_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(ROLLOUT.replace("Primary", "Secondary"))
    with pytest.raises(UserError, match="exactly one metric has the role Primary"):
        form_of(Kind.cluster, None, rollout=file)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        form_of(Kind.cluster, None, rollout=tmp_path / "none.yaml")


def test_both_models_are_trained_on_the_same_log_and_graph() -> None:
    tasks = documents(Form())[0]["root"]["dag"]["tasks"]
    roles = {
        name: tasks[name]["inputs"]["parameters"]["role"]["runtimeValue"]["constant"] for name in ("train", "train-2")
    }
    assert set(roles.values()) == {"baseline", "candidate"}
    assert tasks["train"]["inputs"]["artifacts"] == tasks["train-2"]["inputs"]["artifacts"]


def test_a_log_with_a_recipe_of_its_name_gets_it_and_any_other_the_default_one() -> None:
    assert default_recipe(None) == "synthetic"
    assert default_recipe("../shared/kuairand_pure/") == "kuairand_pure"
    assert default_recipe("s3://bucket/mine") == "default"


@pytest.mark.parametrize(("history", "quantile"), [("", 0.3), (HISTORY, GraphConfig().fit_quantile)])
def test_the_default_recipe_groups_on_all_of_a_history(tmp_path: Path, history: str, quantile: float) -> None:
    (tmp_path / "schema.yaml").write_text(SCHEMA + history)
    text = suited_text("default", str(tmp_path), None)
    assert load_recipe(text).graph == load_recipe("default").graph.model_copy(update={"fit_quantile": quantile})


def test_a_log_without_a_schema_is_told_so_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no schema\.yaml.*write one or pass --schema FILE"):
        suited_text("default", str(tmp_path), None)


@pytest.mark.parametrize("name", ["synthetic", "kuairand_pure"])
def test_a_recipe_says_the_same_as_text(name: str) -> None:
    assert load_recipe(recipe_text(name)) == load_recipe(name)
