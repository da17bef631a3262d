from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from model.artifact.manifest import read_manifest, verify
from model.artifact.writer import ArtifactWriter
from model.bundle import package as packaging
from model.bundle.bundle import open_bundle
from model.bundle.package import package
from model.bundle.probe import read_probes
from model.bundle.reference import probabilities
from model.bundle.trainer_scores import trainer_scores
from model.data.artifact import read_dataset, read_encoders
from model.errors import Fault, UserError
from model.graph.artifact import read_graph
from model.graph.config import GraphConfig
from model.graph.run import build_graph
from model.nets.config import MGOEConfig
from model.training.progress import Silent
from model.training.run import train
from model.training.trained import TrainedModel
from tests.model.bundle.bundle_world import QUICK, World


def test_a_bundle_says_where_it_comes_from(world: World) -> None:
    manifest = verify(world.bundle("mgoe"))
    made_from = {source.kind: source.digest for source in manifest.made_from}
    assert made_from == {
        "model": read_manifest(world.model("mgoe")).digest,
        "log": read_manifest(world.log).digest,
        "macro-graph": read_manifest(world.graph).digest,
    }
    assert manifest.facts["architecture"] == "mgoe"
    assert manifest.facts["graph_version"] == read_graph(world.graph).version
    assert {source.kind for source in verify(world.bundle("mmoe")).made_from} == {"model", "log"}


def test_the_same_inputs_give_the_same_digest(world: World, tmp_path: Path) -> None:
    assert world.package("mgoe", tmp_path / "bundle").digest == read_manifest(world.bundle("mgoe")).digest


def test_probes_reach_every_kind_of_id_and_context(world: World) -> None:
    dataset = read_dataset(world.log)
    probes = [probe.request for probe in read_probes(world.bundle("mgoe"))]
    for ids, nodes in (
        ({probe.user for probe in probes}, dataset.users),
        ({item for probe in probes for item in probe.items}, dataset.items),
    ):
        seen = dict(zip(nodes.ids.tolist(), nodes.seen.tolist(), strict=True))
        assert {seen.get(raw) for raw in ids} == {True, False, None}
    assert {len(probe.items) for probe in probes} >= {1, 2, 5}
    assert any(not probe.context for probe in probes)
    assert any(set(probe.context) == {"slot", "delay", "rank", "shown"} for probe in probes)


def test_probe_scores_are_the_trainers_at_the_latest_moment(world: World) -> None:
    dataset, encoders = read_dataset(world.log), read_encoders(world.log)
    trained = TrainedModel.load(world.model("mgoe"), dataset, read_graph(world.graph))
    probes = read_probes(world.bundle("mgoe"))
    wanted = trainer_scores(trained, encoders, [probe.request for probe in probes])
    np.testing.assert_allclose(np.concatenate([probe.probability_NT for probe in probes]), wanted, atol=1e-6)
    latest = max(int(trained.store.snapshots_S[-1]), int(trained.store.moments_R[-1]))
    assert all(probe.request.time >= latest for probe in probes)


def test_the_utility_travels_with_the_bundle(world: World, tmp_path: Path) -> None:
    world.package("mmoe", tmp_path / "bundle", {"buy": 5.0})
    assert open_bundle(tmp_path / "bundle").serving.utility == {"click": 0.0, "buy": 5.0}
    assert open_bundle(world.bundle("mmoe")).serving.utility == {"click": 1.0, "buy": 1.0}


def test_an_unknown_task_in_the_utility_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="utility names 'share', which is no task"):
        world.package("mmoe", tmp_path / "bundle", {"share": 1.0})
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_does_not_score_as_the_trainer_is_not_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaging, "trainer_scores", lambda *args: trainer_scores(*args) + np.float32(2e-5))
    with pytest.raises(Fault, match=r"probe 0: known user.* away from the trainer; at most 1e-05 is right"):
        world.package("mgoe", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_encoders_of_another_log_are_refused(world: World, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shutil.copytree(world.log, log)
    (log / "encoders" / "users.parquet").write_bytes((log / "encoders" / "items.parquet").read_bytes())
    with pytest.raises(UserError, match=r"file encoders/users\.parquet is broken"):
        package(world.model("mmoe"), log, None, tmp_path / "bundle")


def test_context_features_that_are_encoded_otherwise_are_refused(world: World, tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "log", "log", "test") as writer:
        shutil.copytree(world.log, writer.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        scales = pl.read_parquet(writer.path / "encoders" / "scales.parquet")
        scales.with_columns(pl.col("mean") + 1).write_parquet(writer.path / "encoders" / "scales.parquet")
    with pytest.raises(UserError, match=r"features are encoded otherwise than those of log .*train it anew"):
        package(world.model("mmoe"), tmp_path / "log", None, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_with_a_soft_table_scores_as_the_trainer(world: World, tmp_path: Path) -> None:
    config = GraphConfig(user_groups=3, item_groups=2, snapshots="daily", task_edges=True)
    build_graph(world.log, tmp_path / "graph", config)
    model = MGOEConfig(fusion_dim=12, tower_dim=8, table="soft")
    train(world.log, tmp_path / "graph", tmp_path / "soft", model, QUICK, "candidate", watcher=Silent())
    package(tmp_path / "soft", world.log, tmp_path / "graph", tmp_path / "bundle", probes=8)
    trained = TrainedModel.load(tmp_path / "soft", read_dataset(world.log), read_graph(tmp_path / "graph"))
    bundle = open_bundle(tmp_path / "bundle")
    for side in ("user_table", "item_table"):
        served, stored = getattr(bundle.store, side).graph, getattr(trained.store, side).graph
        assert served.task_log_count.any()
        assert torch.equal(served.task_log_count, stored.task_log_count[-len(served.task_log_count) :])
    wanted = trainer_scores(trained, read_encoders(world.log), [probe.request for probe in bundle.probes])
    asked = [probe.request for probe in bundle.probes]
    found = [probabilities(bundle, each.user, each.items, each.context, each.time) for each in asked]
    np.testing.assert_allclose(np.concatenate(found), wanted, atol=1e-6)


def test_a_soft_table_is_not_trained_on_a_graph_without_task_edges(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table is soft but the macro graph holds no counts by task"):
        train(world.log, world.graph, tmp_path / "soft", MGOEConfig(table="soft"), QUICK, "candidate", watcher=Silent())


def test_a_model_without_its_graph_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="but is given no macro graph"):
        package(world.model("mgoe"), world.log, None, tmp_path / "bundle")


def test_artifacts_in_the_wrong_place_are_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a log artifact; this needs one of kind model"):
        package(world.log, world.model("mmoe"), None, tmp_path / "bundle")
