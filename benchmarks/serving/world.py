"""The bundles that are served: models of usual size, trained for one epoch on a synthetic log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.bundle import open_bundle
from model.bundle.id_index import IdIndex
from model.bundle.package import package
from model.data.ingest import ingest
from model.data.synthetic import write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.graph.config import GraphConfig
from model.graph.run import build_graph
from model.nets.config import MODEL_CONFIG
from model.training.config import TrainingConfig
from model.training.run import train
from serving.ranker.request import RankRequest

ROWS, USERS, ITEMS = 100_000, 20_000, 8_000
QUICK_ROWS, QUICK_USERS, QUICK_ITEMS = 30_000, 2_000, 4_000
ARCHITECTURES = ("mmoe", "mgoe")
"""With the package's own defaults."""


def make_bundles(folder: Path, *, quick: bool) -> dict[str, Path]:
    """One bundle per architecture; what is there already is kept."""
    bundles = {name: folder / f"bundle-{name}" for name in ARCHITECTURES}
    if all(bundle.is_dir() for bundle in bundles.values()):
        return bundles
    rows, users, items = (QUICK_ROWS, QUICK_USERS, QUICK_ITEMS) if quick else (ROWS, USERS, ITEMS)
    write_synthetic(folder / "raw", SyntheticConfig(rows=rows, users=users, items=items))
    ingest(str(folder / "raw"), folder / "log")
    build_graph(folder / "log", folder / "graph", GraphConfig())
    for name, bundle in bundles.items():
        training = TrainingConfig(epochs=1, batch_size=2048, device="cpu", world_size=1)
        config: Any = MODEL_CONFIG.validate_python({"architecture": name})
        train(folder / "log", folder / "graph", folder / f"model-{name}", config, training, role="candidate")
        package(folder / f"model-{name}", folder / "log", folder / "graph", bundle)
    return bundles


def draw_requests(bundle: Path, candidates: int, count: int, seed: int = 0) -> list[RankRequest]:
    """Users and distinct items at random, 2 % of them unknown; moment and context of the first probe."""
    opened = open_bundle(bundle)
    rng = np.random.default_rng(seed)
    probe = opened.probes[0].request

    def name(index: IdIndex, place: int) -> str:
        return f"unknown-{place}" if rng.random() < 0.02 else index.id_of(place)

    return [
        RankRequest(
            user=name(opened.users, int(rng.integers(1, len(opened.users) + 1))),
            items=tuple(
                name(opened.items, int(place) + 1) for place in rng.permutation(len(opened.items))[:candidates]
            ),
            context=probe.context,
            time=probe.time,
        )
        for _ in range(count)
    ]
