"""Small trained bundles: a synthetic log with users, items, context and cold nodes, and models trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.bundle.package import package
from model.data.ingest import ingest
from model.data.synthetic import write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.graph.config import GraphConfig
from model.graph.run import build_graph
from model.nets.config import MODEL_CONFIG
from model.training.config import TrainingConfig
from model.training.run import train

SMALL = {"inputs": {"id_dim": 4, "feature_dim": 3}}
MMOE = {"architecture": "mmoe", "experts": 2, "expert": (8, 6), "tower": (4,), **SMALL}
MGOE = {"architecture": "mgoe", "fusion_dim": 12, "tower_dim": 8, **SMALL}
TARGET = {**MGOE, "attention": "target"}


class World:
    """A log and its graph in `folder`; `bundle` trains and packages on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        raw = folder / "raw"
        write_synthetic(raw, SyntheticConfig(rows=4000, users=150, items=60, user_clusters=4, item_clusters=4))
        ingest(str(raw), folder / "log")
        build_graph(folder / "log", folder / "graph", GraphConfig(user_groups=4, item_groups=4))

    def bundle(self, name: str, model: dict[str, Any], seed: int = 0) -> Path:
        """A bundle of that architecture, trained for one epoch."""
        training = TrainingConfig(epochs=1, batch_size=512, seed=seed, learning_rate=0.02, device="cpu", world_size=1)
        config = MODEL_CONFIG.validate_python(model)
        out = self.folder / f"model-{name}"
        train(self.folder / "log", self.folder / "graph", out, config, training, role="candidate")
        package(out, self.folder / "log", self.folder / "graph", self.folder / name, probes=16)
        return self.folder / name
