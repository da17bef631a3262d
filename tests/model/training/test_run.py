"""From artifacts to a model artifact that loads, predicts and refuses what it was not trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.artifact.manifest import read_manifest, verify
from model.artifact.writer import ArtifactWriter
from model.data.artifact import read_dataset
from model.errors import UserError
from model.graph.artifact import DENSE_IDS, read_graph, write_graph
from model.nets.config import InputOptions, MGOEConfig
from model.training.assembly import trainable
from model.training.curve import Evaluation
from model.training.progress import Silent
from model.training.run import train, work_folder
from model.training.trained import TrainedModel
from tests.model.training.tiny_job import QUICK, SMALL_MMOE, tiny_job
from tests.model.training.tiny_world import DAY, tiny_dataset, tiny_graph, write_artifacts, write_log

READS_GRAPH = SMALL_MMOE.model_copy(update={"inputs": InputOptions(degrees=True)})
"""MMoE with the graph's log-degrees among its inputs."""


class KilledError(Exception):
    """Stands for a kill."""


class KillAtSecondEvaluation(Silent):
    """Raises where a killed process would end."""

    seen = 0

    def evaluated(self, evaluation: Evaluation) -> None:
        self.seen += 1
        if self.seen == 2:
            raise KilledError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log, graph and an MMoE trained on them."""
    folder = tmp_path_factory.mktemp("world")
    log, graph = write_artifacts(folder)
    train(log, graph, folder / "model", READS_GRAPH, QUICK, "baseline", watcher=Silent())
    return folder


def test_a_streamed_graph_is_told_what_makes_it_fit(tmp_path: Path) -> None:
    log, _ = write_artifacts(tmp_path)
    with ArtifactWriter(tmp_path / "streamed", "macro-graph", "test") as writer:
        write_graph(tiny_graph(tiny_dataset()), writer.path)
        writer.facts[DENSE_IDS] = True
    with pytest.raises(UserError, match="is a streamed one: `mgoe graph align` makes of it the graph of log"):
        train(log, tmp_path / "streamed", tmp_path / "out", READS_GRAPH, QUICK, "baseline", watcher=Silent())


def load(folder: Path) -> TrainedModel:
    return TrainedModel.load(folder / "model", read_dataset(folder / "log"), read_graph(folder / "graph"))


def test_the_artifact_is_whole_and_says_where_it_comes_from(world: Path) -> None:
    manifest = verify(world / "model")
    assert sorted(manifest.files) == [
        "input_spec.json",
        "model.json",
        "report.json",
        "training.json",
        "weights.safetensors",
    ]
    assert manifest.facts["role"] == "baseline"
    assert manifest.facts["graph_version"] == "g0"
    assert manifest.facts["data_digest"] == read_manifest(world / "log").digest
    assert {source.kind for source in manifest.made_from} == {"log", "macro-graph"}
    assert not work_folder(world / "model").exists()


def test_a_loaded_model_predicts_what_the_trained_one_measured(world: Path) -> None:
    model = load(world)
    validate = read_dataset(world / "log").validate
    probability = model.predict(validate)
    assert probability.shape == (len(validate), 2)
    assert probability.dtype == np.float32
    log_loss = 0.0
    for task in range(2):
        seen = validate.observed[:, task]
        p = np.where(validate.labels[seen, task] > 0, probability[seen, task], 1 - probability[seen, task])
        log_loss -= float(np.mean(np.log(p)))
    assert log_loss == pytest.approx(model.report.kept.log_loss, rel=1e-4)


def test_a_row_scores_the_same_alone_and_in_any_batch(world: Path) -> None:
    model = load(world)
    rows = read_dataset(world / "log").test
    whole = model.predict(rows)
    np.testing.assert_allclose(model.predict(rows, batch_size=7), whole, atol=1e-5)
    np.testing.assert_allclose(model.predict(rows.take(np.array([5]))), whole[5:6], atol=1e-5)
    assert model.predict(rows.take(slice(0))).shape == (0, 2)


def test_another_graph_version_is_refused(world: Path) -> None:
    dataset = read_dataset(world / "log")
    with pytest.raises(UserError, match="macro graph g0, but is given macro graph g9"):
        TrainedModel.load(world / "model", dataset, tiny_graph(dataset, version="g9"))
    with pytest.raises(UserError, match="but is given no macro graph"):
        TrainedModel.load(world / "model", dataset, None)


def test_another_log_is_refused(world: Path) -> None:
    with pytest.raises(UserError, match="with encoding"):
        TrainedModel.load(world / "model", tiny_dataset(seed=5), read_graph(world / "graph"))


def test_broken_weights_are_named(world: Path, tmp_path: Path) -> None:
    for path in (world / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"weights\.safetensors is broken"):
        TrainedModel.load(tmp_path, read_dataset(world / "log"), read_graph(world / "graph"))


def test_weights_of_another_architecture_are_named(world: Path, tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "model", "model", "test") as writer:
        for name in read_manifest(world / "model").files:
            (writer.path / name).write_bytes((world / "model" / name).read_bytes())
        other = READS_GRAPH.model_copy(update={"experts": 3})
        (writer.path / "model.json").write_text(other.model_dump_json())
        writer.facts |= read_manifest(world / "model").facts
    with pytest.raises(UserError, match=r"do not fit the architecture.*if another mgoe made them, train anew"):
        TrainedModel.load(tmp_path / "model", read_dataset(world / "log"), read_graph(world / "graph"))


def test_what_is_no_model_is_refused(world: Path) -> None:
    with pytest.raises(UserError, match="is a log, not a model"):
        TrainedModel.load(world / "log", read_dataset(world / "log"), None)


def test_a_killed_run_goes_on_and_gives_the_same_digest(world: Path, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"checkpoint_every": 3, "checkpoint_unit": "steps"})
    out = tmp_path / "model"
    with pytest.raises(KilledError):
        train(world / "log", world / "graph", out, READS_GRAPH, config, "baseline", watcher=KillAtSecondEvaluation())
    assert not out.exists()
    assert any(work_folder(out).glob("step-*"))
    resumed = train(world / "log", world / "graph", out, READS_GRAPH, config, "baseline", watcher=Silent())
    report = json.loads((out / "report.json").read_text())
    assert report["resumed_from"] == [6]
    assert resumed.files["weights.safetensors"] == read_manifest(world / "model").files["weights.safetensors"]
    assert not work_folder(out).exists()


def test_checkpoints_of_other_options_are_not_resumed(world: Path, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"checkpoint_every": 3, "checkpoint_unit": "steps"})
    out = tmp_path / "model"
    with pytest.raises(KilledError):
        train(world / "log", world / "graph", out, READS_GRAPH, config, "baseline", watcher=KillAtSecondEvaluation())
    other = config.model_copy(update={"learning_rate": 0.001})
    train(world / "log", world / "graph", out, READS_GRAPH, other, "baseline", watcher=Silent())
    assert json.loads((out / "report.json").read_text())["resumed_from"] == []


def test_a_graph_of_another_log_is_refused(world: Path, tmp_path: Path) -> None:
    write_log(tiny_dataset(seed=8), tmp_path / "log")
    with pytest.raises(UserError, match="was not built from log"):
        train(tmp_path / "log", world / "graph", tmp_path / "m", READS_GRAPH, QUICK, "baseline", watcher=Silent())


@pytest.mark.parametrize("broken", ["log", "graph"])
def test_an_input_with_a_flipped_bit_is_refused_before_anything_is_trained(
    broken: str, world: Path, tmp_path: Path
) -> None:
    folders = {name: shutil.copytree(world / name, tmp_path / name) for name in ("log", "graph")}
    file = next(path for path in sorted(folders[broken].rglob("*.npy")) if path.stat().st_size > 200)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"artifact .*{broken}: file .*{file.name} is broken"):
        train(folders["log"], folders["graph"], tmp_path / "m", READS_GRAPH, QUICK, "baseline", watcher=Silent())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph", "log"]


def test_a_model_that_reads_no_graph_is_bound_to_none_and_trains_on_every_row(world: Path, tmp_path: Path) -> None:
    dataset = read_dataset(world / "log")
    late = tiny_graph(dataset, trainable_from=4 * DAY)
    with ArtifactWriter(tmp_path / "graph", "macro-graph", "test", [read_manifest(world / "log").source()]) as writer:
        write_graph(late, writer.path)
    for name, graph in (("with", tmp_path / "graph"), ("without", None)):
        train(world / "log", graph, tmp_path / name, SMALL_MMOE, QUICK, "baseline", watcher=Silent())
    assert read_manifest(tmp_path / "with").facts["graph_version"] == ""
    assert (
        read_manifest(tmp_path / "with").files["weights.safetensors"]
        == (read_manifest(tmp_path / "without").files["weights.safetensors"])
    )


def test_mgoe_trains_on_graph_and_history_rates(world: Path, tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"history_rates": True, "epochs": 1})
    train(world / "log", world / "graph", tmp_path / "model", MGOEConfig(), config, "candidate", watcher=Silent())
    dataset = read_dataset(world / "log")
    model = TrainedModel.load(tmp_path / "model", dataset, read_graph(world / "graph"))
    probability = model.predict(dataset.test)
    assert np.isfinite(probability).all()
    assert model.store.spec.user.dense == 3


def test_rows_before_the_graph_may_be_trained_on_are_left_out() -> None:
    dataset = tiny_dataset()
    graph = tiny_graph(dataset, trainable_from=4 * DAY)
    rows = trainable(dataset.train, graph)
    assert int(rows.time.min()) >= 4 * DAY
    assert len(rows) == int((dataset.train.time >= 4 * DAY).sum())
    assert len(rows.context.sparse) == len(rows)
    with pytest.raises(UserError, match="no row to train on"):
        trainable(dataset.train, replace(graph, trainable_from=9 * DAY))


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = tiny_job().architecture.state_dict()
    torch.manual_seed(2)
    second = tiny_job().architecture.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
