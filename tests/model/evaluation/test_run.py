import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model.artifact.manifest import read_manifest, verify
from model.artifact.writer import ArtifactWriter
from model.data.artifact import read_dataset
from model.errors import UserError
from model.evaluation import run
from model.evaluation.card import read_card
from model.evaluation.commands import app
from model.evaluation.comparison import read_comparison
from model.evaluation.config import EvaluationConfig
from model.evaluation.predictions import read_predictions
from model.evaluation.verdict import findings
from model.graph.artifact import read_graph
from model.nets.config import MGOEConfig, MMoEConfig
from model.training.config import TrainingConfig
from model.training.run import train
from model.training.trained import TrainedModel
from tests.model.training.tiny_world import write_artifacts

CONFIG = EvaluationConfig(replicates=100, bins=5, gate_rows=64)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Log, graph, an MMoE trained without the graph, an MGOE trained on it, their evaluations and the comparison."""
    folder = tmp_path_factory.mktemp("world")
    log, graph = write_artifacts(folder)
    training = TrainingConfig(epochs=1, batch_size=128)
    train(log, None, folder / "mmoe", MMoEConfig(), training, "baseline")
    train(log, graph, folder / "mgoe", MGOEConfig(), training, "candidate")
    for name in ("mmoe", "mgoe"):
        run.evaluate(folder / name, log, graph, folder / f"evaluation-{name}", CONFIG)
    run.compare(folder / "evaluation-mmoe", folder / "evaluation-mgoe", folder / "comparison", CONFIG)
    return folder


def test_predictions_are_the_models_on_the_test_rows(world: Path) -> None:
    dataset, graph = read_dataset(world / "log"), read_graph(world / "graph")
    expected = TrainedModel.load(world / "mgoe", dataset, graph).predict(dataset.test)
    kept = read_predictions(world / "evaluation-mgoe")
    assert np.allclose(kept.scores, expected, atol=1e-6)
    assert np.array_equal(kept.labels, dataset.test.labels)
    assert np.array_equal(kept.user, dataset.test.user)


def test_artifacts_are_whole_and_lead_back_to_what_they_were_made_from(world: Path) -> None:
    evaluation = verify(world / "evaluation-mgoe")
    assert [source.kind for source in evaluation.made_from] == ["model", "log", "macro-graph"]
    comparison = verify(world / "comparison")
    assert evaluation.source() in comparison.made_from
    assert read_comparison(world / "comparison").candidate.evaluation_digest == evaluation.digest


def test_a_model_without_graph_leaves_the_given_graph_unread(world: Path) -> None:
    kinds = [source.kind for source in read_manifest(world / "evaluation-mmoe").made_from]
    assert kinds == ["model", "log"]


def test_the_same_evaluation_twice_has_the_same_digest(world: Path, tmp_path: Path) -> None:
    again = run.evaluate(world / "mgoe", world / "log", world / "graph", tmp_path / "again", CONFIG)
    assert again.digest == read_manifest(world / "evaluation-mgoe").digest


def test_a_log_with_other_encoder_tables_is_refused(world: Path, tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "log", "log", "test") as writer:
        shutil.copytree(world / "log", writer.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        (writer.path / "encoders").mkdir()
        (writer.path / "encoders" / "scales.parquet").write_text("another scale")
    with pytest.raises(UserError, match=r"features are encoded otherwise .*train it anew"):
        run.evaluate(world / "mmoe", tmp_path / "log", None, tmp_path / "evaluation", CONFIG)


@pytest.mark.parametrize("broken", ["log", "graph"])
def test_an_input_with_a_flipped_bit_is_refused(broken: str, world: Path, tmp_path: Path) -> None:
    folders = {name: shutil.copytree(world / name, tmp_path / name) for name in ("log", "graph")}
    file = next(path for path in sorted(folders[broken].rglob("*.npy")) if path.stat().st_size > 200)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"artifact .*{broken}: file .*{file.name} is broken"):
        run.evaluate(world / "mgoe", folders["log"], folders["graph"], tmp_path / "e", CONFIG)
    assert not (tmp_path / "e").exists()


def test_every_gates_mean_weights_sum_to_one(world: Path) -> None:
    gates = read_card(world / "evaluation-mgoe").gates
    assert gates
    for layer in gates:
        assert [sum(row) for row in layer.mean] == pytest.approx([1.0] * len(layer.gates), abs=1e-5)


def test_evaluations_on_different_logs_are_refused(world: Path, tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path, seed=1)
    train(log, graph, tmp_path / "mmoe", MMoEConfig(), TrainingConfig(epochs=1), "baseline")
    run.evaluate(tmp_path / "mmoe", log, graph, tmp_path / "evaluation", CONFIG)
    with pytest.raises(UserError, match="different logs"):
        run.compare(tmp_path / "evaluation", world / "evaluation-mgoe", tmp_path / "comparison", CONFIG)
    assert not (tmp_path / "comparison").exists()


def test_an_artifact_of_another_kind_is_refused_by_name(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a log artifact; this needs one of kind evaluation"):
        run.compare(world / "log", world / "evaluation-mgoe", tmp_path / "comparison", CONFIG)


class _Page(HTMLParser):
    """What matters of a report: ids, links, things loaded from elsewhere, and drawings without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.nameless = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" and "href" in found else []
        self.loaded += [tag] if tag in {"script", "link", "iframe", "img"} or "src" in found else []
        self.nameless += tag == "svg" and not (found.get("role") == "img" and found.get("aria-label"))


@pytest.mark.parametrize("report", ["comparison/report.html", "evaluation-mgoe/evaluation.html"])
def test_a_report_stands_alone_and_every_drawing_has_a_name(world: Path, report: str) -> None:
    text = (world / report).read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.loaded == []
    assert page.nameless == 0
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", text)


def test_the_report_says_the_verdict_and_every_difference_by_task(world: Path) -> None:
    comparison = read_comparison(world / "comparison")
    text = (world / "comparison/report.html").read_text(encoding="utf-8")
    assert " %" not in re.sub(r"<[^>]*>", "", text.partition("</style>")[2])  # no line begins with a percent sign
    plain = text.replace("\N{NO-BREAK SPACE}", " ").replace("−", "-")
    assert all(sentence in plain for sentence in findings(comparison))
    for task in comparison.tasks:
        difference = comparison.find("auc", task).difference
        assert difference is not None
        assert f"{difference:+.4f}".replace("-", "−") in text


def test_the_commands_print_the_verdict_and_where_the_report_lies(world: Path, tmp_path: Path) -> None:
    sides = ["--baseline", f"{world}/evaluation-mmoe", "--candidate", f"{world}/evaluation-mgoe"]
    done = CliRunner().invoke(app, ["compare", *sides, "--out", f"{tmp_path}/out", "--replicates", "100"])
    assert done.exit_code == 0, done.output
    assert "report.html" in done.output
    metrics = json.loads((world / "evaluation-mgoe/metrics.json").read_text())
    assert metrics["rows"] == len(read_predictions(world / "evaluation-mgoe"))
