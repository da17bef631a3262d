"""Micro neighbours: a node's last positives, as one weighted sum of their id embeddings.

Legend: B rows, L recents, W width of an id row.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from model.nets.id_table import IdRows
from model.nets.interface import GraphBatch

Weighting = Literal["mean", "sum"]


def micro_neighbours(graph: GraphBatch, table: IdRows, weighting: Weighting) -> Tensor:
    """[B, W]. `mean`: weighted by the merging score S, weights sum to 1 (0 without any). `sum`: MacGNN's masked sum."""
    return table.weighted_sum(graph.recent_BL, micro_weights(graph, weighting))


def micro_weights(graph: GraphBatch, weighting: Weighting) -> Tensor:
    """[B, L]: what every recent counts, 0 where padded."""
    present_BL = (graph.recent_BL > 0).to(graph.recent_score_BL.dtype)
    if weighting == "sum":
        return present_BL
    weight_BL = graph.recent_score_BL * present_BL
    return weight_BL / weight_BL.sum(dim=1, keepdim=True).clamp(min=1e-12)
