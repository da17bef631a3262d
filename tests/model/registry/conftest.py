"""An empty registry made once and copied for each test (making its tables takes seconds), and artifacts to register."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.artifact.manifest import Manifest, Source, read_manifest
from model.artifact.writer import ArtifactWriter
from model.evaluation.comparison import COMPARISON_NAME, MEAN, Arm, Comparison, Difference, Metric
from model.training.mlflow_client import open_client

TASKS = ("click", "like")
MakeComparison = Callable[..., Comparison]
GOOD: dict[tuple[Metric, str], tuple[float | None, float | None, float | None]] = {
    ("auc", MEAN): (0.70, 0.72, 0.01),
    ("auc", "click"): (0.70, 0.71, 0.005),
    ("auc", "like"): (0.70, 0.73, 0.01),
    ("ece", "click"): (0.02, 0.02, -0.01),
    ("ece", "like"): (0.01, 0.01, -0.01),
}


def comparison_of(
    models: tuple[str, str] = ("b" * 64, "c" * 64),
    **changed: tuple[float | None, float | None, float | None],
) -> Comparison:
    """A comparison that passes the default gate. changed: `auc_click=(baseline, candidate, lower)`; None: undefined."""
    entries = dict(GOOD)
    for name, values in changed.items():
        metric, _, task = name.partition("_")
        key = next(key for key in GOOD if key == (metric, task))
        entries[key] = values
    return Comparison(
        baseline=Arm(name="mmoe", model_digest=models[0], evaluation_digest="eb"),
        candidate=Arm(name="mgoe", model_digest=models[1], evaluation_digest="ec"),
        log_digest="log-digest",
        tasks=TASKS,
        slices=("all",),
        rows=1000,
        users=100,
        level=0.95,
        replicates=200,
        seed=0,
        differences=tuple(_difference(metric, task, *values) for (metric, task), values in entries.items()),
    )


def _difference(
    metric: Metric, task: str, baseline: float | None, candidate: float | None, lower: float | None
) -> Difference:
    known = baseline is not None and candidate is not None
    difference = candidate - baseline if baseline is not None and candidate is not None else None
    return Difference(
        metric=metric,
        task=task,
        slice="all",
        baseline=baseline,
        candidate=candidate,
        difference=difference,
        lower=lower if known else None,
        upper=2 * difference - lower if difference is not None and lower is not None else None,
        level=0.95,
        n=1000,
        users=100,
    )


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("registry") / "empty.db"
    open_client(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking_uri(empty_registry: Path, tmp_path: Path) -> str:
    """An empty registry of the test's own."""
    path = tmp_path / "registry" / "registry.db"
    path.parent.mkdir()
    shutil.copyfile(empty_registry, path)
    return f"sqlite:///{path}"


@dataclass(frozen=True)
class Pair:
    """Artifact folders of two models and their comparison."""

    baseline: Path
    candidate: Path
    comparison: Path

    @property
    def manifests(self) -> tuple[Manifest, Manifest]:
        return read_manifest(self.baseline), read_manifest(self.candidate)


@pytest.fixture
def make_pair(tmp_path: Path) -> Callable[..., Pair]:
    """Writes a pair; the weights are text, and what differs in them makes another model."""

    def make(
        baseline: str = "baseline weights",
        candidate: str = "candidate weights",
        **changed: tuple[float | None, float | None, float | None],
    ) -> Pair:
        folder = tmp_path / f"pair-{len(list(tmp_path.glob('pair-*')))}"
        digests = []
        for role, weights, graph in (("baseline", baseline, ""), ("candidate", candidate, "graph-7")):
            sources = [Source(kind="log", digest="log-digest")]
            sources += [Source(kind="macro-graph", digest="graph-digest")] if graph else []
            with ArtifactWriter(folder / role, "model", "test", sources) as writer:
                (writer.path / "weights").write_text(weights)
                writer.facts |= {"run_id": f"run-{role}", "graph_version": graph, "architecture": role}
            digests.append(writer.manifest.digest)
        with ArtifactWriter(folder / "comparison", "comparison", "test") as writer:
            comparison = comparison_of((digests[0], digests[1]), **changed)
            (writer.path / COMPARISON_NAME).write_text(comparison.model_dump_json())
        return Pair(folder / "baseline", folder / "candidate", folder / "comparison")

    return make


@pytest.fixture
def pair(make_pair: Callable[..., Pair]) -> Pair:
    return make_pair()


@pytest.fixture
def make_comparison() -> MakeComparison:
    return comparison_of
