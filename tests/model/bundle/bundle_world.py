"""A small log with every kind of context feature, trained on once and packaged: what the tests of this room open."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from model.artifact.manifest import Manifest
from model.bundle.package import package
from model.data.ingest import ingest
from model.evaluation.config import EvaluationConfig
from model.evaluation.run import evaluate
from model.graph.config import GraphConfig
from model.graph.run import build_graph
from model.nets.config import MGOEConfig, MMoEConfig, ModelConfig
from model.training.config import TrainingConfig
from model.training.progress import Silent
from model.training.run import train
from tests.model.data import raw_logs

QUICK = TrainingConfig(batch_size=64, epochs=1, device="cpu", history_rates=True)
MODELS: dict[str, tuple[ModelConfig, TrainingConfig]] = {
    "mmoe": (MMoEConfig(experts=2, expert=(8,), tower=(4,)), QUICK.model_copy(update={"history_rates": False})),
    "mgoe": (MGOEConfig(fusion_dim=12, tower_dim=8), QUICK),
}
CONTEXT = [
    {"name": "slot", "of": "context", "kind": "sparse", "column": "slot"},
    {"name": "hour", "of": "context", "kind": "sparse", "derive": "hour_of_day"},
    {"name": "weekday", "of": "context", "kind": "sparse", "derive": "day_of_week"},
    {"name": "delay", "of": "context", "kind": "dense", "column": "delay", "transform": "log1p"},
    {"name": "rank", "of": "context", "kind": "dense", "column": "rank"},
    {"name": "shown", "of": "context", "kind": "multi", "column": "shown", "max_length": 3, "separator": ","},
]


@dataclass(frozen=True)
class World:
    """Artifact folders."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def graph(self) -> Path:
        return self.folder / "graph"

    def model(self, name: str) -> Path:
        return self.folder / name

    def bundle(self, name: str) -> Path:
        return self.folder / f"bundle-{name}"

    def evaluation(self, name: str) -> Path:
        return self.folder / f"evaluation-{name}"

    def package(self, name: str, out: Path, utility: dict[str, float] | None = None) -> Manifest:
        return package(self.model(name), self.log, self.graph, out, utility, probes=32)

    def copy_of(self, name: str, out: Path) -> Path:
        """A bundle of the test's own, to break."""
        shutil.copytree(self.bundle(name), out)
        return out


def make_world(folder: Path) -> World:
    """Two models with bundles and evaluations, in seconds."""
    content = raw_logs.schema_content()
    content["features"] = [*CONTEXT, *(feature for feature in content["features"] if feature["of"] != "context")]
    content["interactions"]["time"]["timezone"] = "Asia/Shanghai"
    rows = raw_logs.rows().with_columns(
        delay=pl.when(pl.int_range(pl.len()) % 5 > 0).then((pl.int_range(pl.len()) % 17).cast(pl.Float64)),
        rank=(pl.int_range(pl.len()) % 10).cast(pl.Int64),
        shown=pl.Series(["a,b", "b, c,a,d", None, "z", "c"] * 48),
    )
    raw_logs.write(folder / "raw", content, rows=rows)
    world = World(folder)
    ingest(str(folder / "raw"), world.log)
    build_graph(world.log, world.graph, GraphConfig(user_groups=3, item_groups=2, snapshots="daily"))
    for name, (model, training) in MODELS.items():
        train(world.log, world.graph, world.model(name), model, training, "candidate", watcher=Silent())
        world.package(name, world.bundle(name))
        evaluate(world.model(name), world.log, world.graph, world.evaluation(name), EvaluationConfig(replicates=100))
    return world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("bundles"))
