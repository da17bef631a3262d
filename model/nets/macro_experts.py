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

from model.nets.aggregation import (
    EdgeWeights,
    aggregate,
    aggregate_by_task,
    dense_weights,
    edge_weights,
    task_weights,
)
from model.nets.config import MacroOptions
from model.nets.interface import EdgeBatch, Half
from model.nets.macro_table import MacroTable
from model.nets.stacked import StackedLinear


class Match(nn.Module):
    """softmax over macro nodes of (Q e_k) . (K x) / sqrt(2 D), the attention that MacGNN's paper describes.

    Its released code takes the softmax over an axis of length one, which makes every score 1.
    """

    def __init__(self, tasks: int, dim: int) -> None:
        super().__init__()
        self.query = StackedLinear(tasks, dim, 2 * dim, bias=False)
        self.key = StackedLinear(tasks, dim, 2 * dim, bias=False)

    def forward(self, table_NTD: Tensor, target_BTD: Tensor) -> Tensor:
        """[T, B, N]; node 0 gets 0."""
        query_TNP = self.query(table_NTD).transpose(0, 1)
        key_TBP = self.key(target_BTD).transpose(0, 1)
        score_TBN = torch.bmm(key_TBP, query_TNP.transpose(1, 2)) / math.sqrt(query_TNP.shape[-1])
        padding_N = torch.arange(table_NTD.shape[0], device=table_NTD.device) == 0
        return torch.softmax(score_TBN.masked_fill(padding_N, float("-inf")), dim=-1)


class MacroNeighbours(nn.Module):
    """Macro nodes of one side (users or items): their tables M^t and projections V^t: D -> 2 D without bias."""

    def __init__(self, groups: int, tasks: int, dim: int, options: MacroOptions) -> None:
        super().__init__()
        self.table = MacroTable(groups, tasks, dim)
        self.project = StackedLinear(tasks, dim, 2 * dim, bias=False)
        self.options = options
        self.match = Match(tasks, dim) if options.attention == "target" else None

    def weights(self, edges: EdgeBatch) -> EdgeWeights:
        """Softmax weights of the edges, in sparse form."""
        return edge_weights(edges, self.table.groups, self.options)

    def by_task(self, macro_Bk: Tensor, log_count_BkT: Tensor) -> Tensor:
        """softmax(log(P_t + 1) / tau) M^t, the soft macro task table: [B, T, D]."""
        weights = task_weights(macro_Bk, log_count_BkT, self.table.groups, self.options)
        return aggregate_by_task(weights, self.table.weight_NTD)

    def forward(self, weights: EdgeWeights, target_BTD: Tensor | None = None) -> Tensor:
        """h^t = (a M^t) V^t: [B, T, P]. With a target (attention "target") a is multiplied by the match with it."""
        if self.match is None or target_BTD is None:
            return self.project(aggregate(weights, self.table.weight_NTD))  # type: ignore[no-any-return]
        weight_TBN = dense_weights(weights, self.table.groups) * self.match(self.table.weight_NTD, target_BTD)
        summed_TBD = torch.bmm(weight_TBN, self.table.weight_NTD.transpose(0, 1))
        return self.project(summed_TBD.transpose(0, 1))  # type: ignore[no-any-return]


def pack(name: str, weights: EdgeWeights) -> Half:
    """Edge weights as named tensors of a half."""
    return {
        f"{name}_macro_Bk": weights.macro_Bk,
        f"{name}_weight_Bk": weights.weight_Bk,
        f"{name}_base_B": weights.base_B,
    }


def unpack(name: str, half: Half, padding_node: bool) -> EdgeWeights:
    """The reverse of pack."""
    return EdgeWeights(half[f"{name}_macro_Bk"], half[f"{name}_weight_Bk"], half[f"{name}_base_B"], padding_node)
