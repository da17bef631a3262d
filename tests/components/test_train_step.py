"""The train step hands on what resuming and a lost machine depend on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import model.training.run
from components.shelf import SHELF_VARIABLE
from components.train import work
from model.artifact.code_version import code_version
from model.artifact.manifest import Manifest
from model.artifact.writer import ArtifactWriter
from tests.model.training.tiny_world import write_artifacts

RECIPE = "name: tiny\nbaseline: {architecture: mmoe}\ncandidate: {architecture: mgoe}\n"


def artifact(name: str, path: Path) -> Any:
    return SimpleNamespace(name=name, path=str(path), metadata={}, log_metric=lambda *_: None)


def test_training_is_told_the_codes_version_and_publishes_before_it_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHELF_VARIABLE, str(tmp_path / "shelf"))
    log, graph = write_artifacts(tmp_path)
    store = tmp_path / "store"
    told: dict[str, Any] = {}

    def train(_log: Path, _graph: Path, out: Path, *_: object, publish: Any, **options: Any) -> Manifest:
        with ArtifactWriter(out, "model", "test") as writer:
            (writer.path / "weights").write_text("w")
        publish(out)
        told.update(options, published=[path.read_text() for path in store.rglob("weights")])
        return writer.manifest

    monkeypatch.setattr(model.training.run, "train", train)
    work.run(
        artifact("log", log),
        artifact("graph", graph),
        artifact("model", tmp_path / "model"),
        artifact("metrics", tmp_path / "metrics"),
        recipe=RECIPE,
        role="candidate",
        seed=None,
        tracking=None,
        store=str(store),
    )
    assert told == {"store": str(store), "code": code_version("model.training.run"), "published": ["w"]}
