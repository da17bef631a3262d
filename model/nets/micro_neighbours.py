"""Micro neighbours: a node's last positives, as one weighted sum of their id embeddings.

Legend: B rows, L recents, W width of an id row.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from model.nets.embedding import IdTable
from model.nets.interface import GraphBatch


def micro_neighbours(graph: GraphBatch, table: IdTable, weighting: Literal["mean", "sum"]) -> Tensor:
    """[B, W]. `mean`: weighted by the merging score S, weights sum to 1 (0 without any). `sum`: MacGNN's masked sum."""
    present_BL = (graph.recent_BL > 0).to(graph.recent_score_BL.dtype)
    if weighting == "mean":
        weight_BL = graph.recent_score_BL * present_BL
        weight_BL = weight_BL / weight_BL.sum(dim=1, keepdim=True).clamp(min=1e-12)
    else:
        weight_BL = present_BL
    return functional.embedding_bag(
        graph.recent_BL,
        table.weight,
        mode="sum",
        per_sample_weights=weight_BL.to(table.weight.dtype),
        sparse=table.sparse,
    )
