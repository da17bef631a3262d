"""A small log and two models trained on it: the faults are about processes, not about models."""

from __future__ import annotations

from dataclasses import dataclass
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

_MODELS: dict[str, dict[str, Any]] = {
    "mmoe": {"architecture": "mmoe", "experts": 2, "expert": (8, 6), "tower": (4,)},
    "mgoe": {"architecture": "mgoe", "fusion_dim": 12, "tower_dim": 8},
}
_INPUTS = {"inputs": {"id_dim": 4, "feature_dim": 3}}


@dataclass(frozen=True)
class SmallPair:
    """Folders of the log artifact and of both bundles."""

    log: Path
    baseline: Path
    candidate: Path


def small_pair(folder: Path) -> SmallPair:
    """Made in some seconds; what is there already is kept."""
    pair = SmallPair(folder / "log", folder / "mmoe", folder / "mgoe")
    if pair.candidate.is_dir():
        return pair
    write_synthetic(folder / "raw", SyntheticConfig(rows=8000, users=400, items=80))
    ingest(str(folder / "raw"), pair.log)
    build_graph(pair.log, folder / "graph", GraphConfig(user_groups=4, item_groups=4))
    for name, model in _MODELS.items():
        training = TrainingConfig(epochs=1, batch_size=512, learning_rate=0.02, device="cpu", world_size=1)
        trained = folder / f"model-{name}"
        config = MODEL_CONFIG.validate_python(model | _INPUTS)
        train(pair.log, folder / "graph", trained, config, training, role="candidate")
        package(trained, pair.log, folder / "graph", folder / name, probes=16)
    return pair
