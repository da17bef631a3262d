"""Numbers of the graph that say one thing of training rows and another of validation rows.

Training rows of a `single` graph read a smaller snapshot than all later rows, so counts grow between the two.
Legend: N rows, G numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.nets.embedding import NodeFeatures
from model.nets.interface import Architecture
from model.nets.node_store import NodeStore, Rows

SHIFT = 2.0
"""Deviations of the training rows that a mean may move by before it is told."""
SAMPLE = 20_000
"""Rows of each part that are looked at."""


def shift_of_degrees(architecture: Architecture, store: NodeStore, train: Rows, validate: Rows) -> str | None:
    """One line where the model reads log-degrees or log-exposures that move between the parts, else None."""
    if not any(part.degrees for part in architecture.modules() if isinstance(part, NodeFeatures)):
        return None
    names = [f"{side} {name}" for side in ("user", "item") for name in (*store.spec.tasks, "exposure")]
    trained_NG, later_NG = _numbers(store, train), _numbers(store, validate)
    mean_G, deviation_G = trained_NG.mean(dim=0), trained_NG.std(dim=0)
    moved_G = (later_NG.mean(dim=0) - mean_G).abs() > SHIFT * deviation_G.clamp(min=1e-3)
    moved = [name for name, is_moved in zip(names, moved_G.tolist(), strict=True) if is_moved]
    if not moved:
        return None
    return (
        f"log-degrees of validation rows are not those of training rows ({', '.join(moved)}): what the model learns "
        "of them may not hold; a graph with daily snapshots keeps them alike"
    )


def _numbers(store: NodeStore, rows: Rows) -> Tensor:
    """[N, G]: log-degrees and log-exposure of both nodes, of evenly spaced rows."""
    index_N = torch.linspace(0, len(rows) - 1, min(len(rows), SAMPLE), device=store.device).long()
    batch = store.batch(rows, index_N)
    parts = []
    for node in (batch.user, batch.item):
        assert node.graph is not None  # noqa: S101 - a model that reads degrees is given a graph
        parts += [node.graph.log_degree_BT, node.graph.log_exposure_B.unsqueeze(1)]
    return torch.cat(parts, dim=1)
