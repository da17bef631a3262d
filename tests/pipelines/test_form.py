from pathlib import Path

import pytest

from model.errors import UserError
from pipelines.form import DEFAULTS, Form, StepName, load_form


def written(folder: Path, text: str) -> Path:
    path = folder / "options.yaml"
    path.write_text(text)
    return path


def test_options_of_named_steps_are_read_and_the_others_keep_theirs(tmp_path: Path) -> None:
    form = load_form(written(tmp_path, "steps:\n  ingest:\n    resources: {cpu: '1', gpus: 1}\n    retries: 5\n"))
    assert form.options("ingest").retries == 5
    assert form.options("ingest").resources.gpus == 1
    assert form.options("compare") == DEFAULTS["compare"]


def test_what_a_step_does_not_set_stays_as_it_is_for_that_step(tmp_path: Path) -> None:
    form = load_form(written(tmp_path, "steps:\n  register: {retries: 0}\n  train-candidate: {resources: {gpus: 1}}\n"))
    assert not form.options("register").caching
    given, default = form.options("train-candidate").resources, DEFAULTS["train-candidate"].resources
    assert given == default.model_copy(update={"gpus": 1})


@pytest.mark.parametrize("step", ["ingest", "register", "register-rollout"])
def test_what_depends_on_more_than_its_arguments_is_never_taken_from_kubeflows_cache(step: StepName) -> None:
    assert not Form().options(step).caching


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("steps: {tran: {}}", "tran"),
        ("steps: {ingest: {resources: {cpu: many}}}", "cpu"),
        ("steps: {ingest: {retries: -1}}", "retries"),
        ("steps: [", "not YAML"),
        ("- a", "list"),
        ("", "is empty"),
        ("rollout: 'kind: Rollout'", "rollout: a ModelRollout of mgoe.dev/v1alpha1 is expected"),
    ],
)
def test_a_wrong_option_is_named_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        load_form(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_options_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_form(tmp_path / "options.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml cannot be read"):
        load_form(tmp_path / "none.yaml")
