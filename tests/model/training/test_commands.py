"""`mgoe train` trains and shows the curve; wrong options are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

import model.training.run
from model.artifact.code_version import code_version
from model.errors import UserError
from model.training.commands import app, read_yaml
from model.training.config import TrainingConfig
from tests.model.training.tiny_world import write_artifacts


def test_the_command_trains_and_shows_the_learning_curve(tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path)
    (tmp_path / "model.yaml").write_text("architecture: mmoe\nexperts: 2\n")
    (tmp_path / "training.yaml").write_text("batch_size: 128\nepochs: 1\ndevice: cpu\n")
    arguments = ["--log", log, "--graph", graph, "--out", tmp_path / "out", "--model", tmp_path / "model.yaml"]
    arguments += ["--training", tmp_path / "training.yaml", "--role", "baseline"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "Learning curve" in result.output
    assert (tmp_path / "out" / "manifest.json").exists()


def test_the_command_does_not_go_on_from_other_codes_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, object] = {}

    def train(*_: object, **options: object) -> None:
        told.update(options)
        raise UserError("enough")

    monkeypatch.setattr(model.training.run, "train", train)
    (tmp_path / "model.yaml").write_text("architecture: mmoe\n")
    result = CliRunner().invoke(app, ["--log", "log", "--out", "out", "--model", str(tmp_path / "model.yaml")])
    assert str(result.exception) == "enough"
    assert told == {"code": code_version("model.training.run")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rat: 0.1", r"learning_rat: unknown field \(got 0\.1\)"),
        ("epochs: 0", r"epochs: Input should be greater than or equal to 1 \(got 0\)"),
        ("epochs: [", "is not YAML"),
        ("", "is empty"),
    ],
)
def test_a_wrong_option_names_field_value_and_what_would_be_right(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_yaml(tmp_path / "training.yaml", TypeAdapter(TrainingConfig))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml cannot be read"):
        read_yaml(tmp_path / "none.yaml", TypeAdapter(TrainingConfig))


def test_options_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"training\.yaml is not UTF-8 text"):
        read_yaml(tmp_path / "training.yaml", TypeAdapter(TrainingConfig))
