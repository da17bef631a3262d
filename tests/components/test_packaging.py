"""The steps between comparison and registration, run as kfp runs them: on artifacts with a path and metadata."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.package.work import run as package
from components.parity.work import run as parity
from components.step import STORED
from model.artifact.manifest import read_manifest
from model.artifact.writer import ArtifactWriter
from model.bundle.bundle import read_verified
from model.bundle.probe import read_probes, write_probes
from model.bundle.reference import probabilities
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankAnswer, RankRequest
from tests.model.bundle.bundle_world import World, make_world

RECIPE = """\
name: test
baseline: {architecture: mmoe}
candidate: {architecture: mgoe}
bundle: {utility: {click: 1, buy: 3}, probes: 16, parity_rows: 5}
"""


@dataclass
class Artifact:
    """What a step sees of a kfp artifact."""

    path: str
    name: str = "artifact"
    metadata: dict[str, object] = field(default_factory=dict)

    def log_metric(self, name: str, value: float) -> None:
        self.metadata[name] = value


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("bundles"))


def packaged(world: World, out: Path, store: Path | None = None) -> Artifact:
    bundle = Artifact(str(out))
    model, log, graph = (Artifact(str(folder)) for folder in (world.model("mgoe"), world.log, world.graph))
    package(model, log, graph, bundle, recipe=RECIPE, role="candidate", store=None if store is None else str(store))
    return bundle


def test_a_packaged_model_is_published_and_says_where(world: World, tmp_path: Path) -> None:
    bundle = packaged(world, tmp_path / "bundle", tmp_path / "store")
    manifest = read_manifest(Path(bundle.path))
    assert bundle.metadata["digest"] == manifest.digest
    assert manifest.facts["utility"] == {"click": 1.0, "buy": 3.0}
    assert read_manifest(Path(str(bundle.metadata[STORED]))).digest == manifest.digest


def test_packaging_again_reuses_what_is_stored(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packaged(world, tmp_path / "first", tmp_path / "store")
    monkeypatch.setattr("model.bundle.package.package", None)
    again = packaged(world, tmp_path / "again", tmp_path / "store")
    assert again.metadata["digest"] == first.metadata["digest"]


def test_parity_is_measured(world: World, tmp_path: Path) -> None:
    bundle, metrics = packaged(world, tmp_path / "bundle"), Artifact("")
    evaluation = Artifact(str(world.evaluation("mgoe")))
    parity(bundle, Artifact(str(world.log)), evaluation, metrics, recipe=RECIPE, role="candidate")
    assert metrics.metadata["rows"] == 5
    assert float(str(metrics.metadata["largest_difference"])) <= 1e-5


def test_parity_asks_the_ranker_over_json(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off(self: Ranker, requests: Sequence[RankRequest]) -> list[RankAnswer]:
        return [replace(each, probabilities=each.probabilities + 1e-3) for each in ranked(self, requests)]

    ranked = Ranker.rank_many
    load = Ranker.load

    def loaded(*arguments: Any) -> Ranker:
        ranker = load(*arguments)
        monkeypatch.setattr(Ranker, "rank_many", off)  # its probes are scored when it is loaded
        return ranker

    monkeypatch.setattr(Ranker, "load", loaded)
    evaluation, log = Artifact(str(world.evaluation("mgoe"))), Artifact(str(world.log))
    with pytest.raises(SystemExit):
        parity(packaged(world, tmp_path / "bundle"), log, evaluation, Artifact(""), recipe=RECIPE, role="candidate")


def test_a_bundle_that_serves_something_else_fails_the_pipeline_in_one_line(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole by its digests, of the right model and true to its probes, but the candidates' rates are gone."""
    original, drifted = world.bundle("mgoe"), tmp_path / "bundle"
    manifest = read_manifest(original)
    with ArtifactWriter(drifted, "bundle", "test", manifest.made_from) as writer:
        shutil.copytree(original, writer.path, dirs_exist_ok=True)
        rates = np.load(original / "items" / "rates.npy", allow_pickle=False)
        np.save(writer.path / "items" / "rates.npy", np.zeros_like(rates), allow_pickle=False)
        asked = [probe.request for probe in read_probes(original)]
        bundle_now = read_verified(writer.path, manifest)
        scores = [probabilities(bundle_now, each.user, each.items, each.context, each.time) for each in asked]
        write_probes(tuple(asked), np.concatenate(scores), writer.path)
        writer.facts |= manifest.facts
    bundle, log, evaluation = (Artifact(str(folder)) for folder in (drifted, world.log, world.evaluation("mgoe")))
    with pytest.raises(SystemExit) as ended:
        parity(bundle, log, evaluation, Artifact(""), recipe=RECIPE, role="candidate")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("parity candidate: bundle")
    assert "away from its evaluation" in said
    assert said.count("\n") == 1
