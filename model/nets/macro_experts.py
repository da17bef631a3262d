"""The macro graph experts' edges: one- and two-hop macro neighbours of a node, for all tasks at once.

Edge weights are shared by all tasks; macro embeddings and projections are each task's own (MGOE, section "macro graph
bottom"). With attention "none" sum_k w_k (V e_k) = V (w^T M): the table is aggregated, then projected, so a row costs
one [K] x [K, T D] product and T small projections.

Legend: B rows, T tasks, k kept edges, K macro nodes, N = K + 1, D id width, P = 2 D projected width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.nets.aggregation import EdgeWeights, aggregate, dense_weights, edge_weights
from model.nets.interface import EdgeBatch, Half
from model.nets.macro_table import MacroTable
from model.nets.stacked import StackedLinear


class MacroNeighbours(nn.Module):
    """Macro nodes of one side (users or items): their tables M^t and projections V^t: D -> 2 D without bias."""

    def __init__(self, groups: int, tasks: int, dim: int, tau: float, mask_zero: bool, target: bool) -> None:
        super().__init__()
        self.table = MacroTable(groups, tasks, dim)
        self.project = StackedLinear(tasks, dim, 2 * dim, bias=False)
        self.tau = tau
        self.mask_zero = mask_zero
        self.query = StackedLinear(tasks, dim, 2 * dim, bias=False) if target else None
        self.key = StackedLinear(tasks, dim, 2 * dim, bias=False) if target else None

    def weights(self, edges: EdgeBatch) -> EdgeWeights:
        return edge_weights(edges, self.table.groups, self.tau, self.mask_zero)

    def forward(self, weights: EdgeWeights) -> Tensor:
        """attention "none": h^t = (a M^t) V^t, [B, T, P]."""
        return self.project(aggregate(weights, self.table.weight_NTD))  # type: ignore[no-any-return]

    def attend(self, weights: EdgeWeights, target_BTD: Tensor) -> Tensor:
        """attention "target": a_k times softmax_k((Q e_k) . (K x) / sqrt(2 D)), then as above: [B, T, P].

        MacGNN's released code takes this softmax over an axis of length one; this is the corrected form.
        """
        assert self.query is not None and self.key is not None, "built without target attention"
        table_NTD = self.table.weight_NTD
        query_TNP = self.query(table_NTD).transpose(0, 1)
        key_TBP = self.key(target_BTD).transpose(0, 1)
        match_TBN = torch.bmm(key_TBP, query_TNP.transpose(1, 2)) / math.sqrt(query_TNP.shape[-1])
        real_N = torch.arange(table_NTD.shape[0], device=table_NTD.device) > 0
        match_TBN = torch.softmax(match_TBN.masked_fill(~real_N, float("-inf")), dim=-1)
        weight_TBN = dense_weights(weights, self.table.groups).unsqueeze(0) * match_TBN
        summed_BTD = torch.bmm(weight_TBN, table_NTD.transpose(0, 1)).transpose(0, 1)
        return self.project(summed_BTD)  # type: ignore[no-any-return]


def pack(name: str, weights: EdgeWeights) -> Half:
    """Edge weights as named tensors of a half."""
    return {
        f"{name}_macro_Bk": weights.macro_Bk,
        f"{name}_weight_Bk": weights.weight_Bk,
        f"{name}_base_B": weights.base_B,
    }


def unpack(name: str, half: Half) -> EdgeWeights:
    """The reverse of pack."""
    return EdgeWeights(half[f"{name}_macro_Bk"], half[f"{name}_weight_Bk"], half[f"{name}_base_B"])
