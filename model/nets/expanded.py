"""The literal form of macro aggregation: every row projects a [K, D] copy of the table, as MacGNN's code does.

The reference that the factorised form must equal (tests) and is measured against (benchmarks/speed/nets.py).
Legend: B rows, T tasks, K macro nodes, N = K + 1, D id width, P = 2 D.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from model.nets.aggregation import EdgeWeights
from model.nets.interface import EdgeBatch
from model.nets.macgnn import MacGNN
from model.nets.macro_experts import MacroNeighbours
from model.nets.mgoe import MGOE


class ExpandedNeighbours(MacroNeighbours):
    """Dense counts, a dense softmax over all macro nodes, and a projection of every macro node in every row."""

    def weights(self, edges: EdgeBatch) -> EdgeWeights:
        """weight_Bk holds all N nodes in order; nothing is left to the base."""
        rows, nodes = len(edges.macro_Bk), self.table.groups + 1
        log_count_BN = torch.zeros(rows, nodes, device=edges.macro_Bk.device)
        log_count_BN = log_count_BN.scatter(1, edges.macro_Bk, edges.log_count_Bk.float())
        log_count_BN[:, 0] = 0
        score_BN = log_count_BN / self.options.tau
        if not self.options.padding_node:
            score_BN[:, 0] = float("-inf")
        if self.options.mask_zero:
            score_BN = score_BN.masked_fill(log_count_BN == 0, float("-inf"))
        weight_BN = torch.softmax(score_BN, dim=1).nan_to_num()
        node_BN = torch.arange(nodes, device=weight_BN.device).expand(rows, -1)
        return EdgeWeights(node_BN, weight_BN, weight_BN.new_zeros(rows))

    def forward(self, weights: EdgeWeights, target_BTD: Tensor | None = None) -> Tensor:
        """sum_k a_k (V e_k), task by task: [B, T, P]."""
        summed: list[Tensor] = []
        for task in range(self.table.weight_NTD.shape[1]):
            table_ND = self.table.weight_NTD[:, task]
            node_BND = functional.embedding(weights.macro_Bk, table_ND)
            value_BNP = functional.linear(node_BND, self.project.weight_SOI[task])
            if self.match is not None and target_BTD is not None:
                query_BNP = functional.linear(node_BND, self.match.query.weight_SOI[task])
                key_BP1 = functional.linear(target_BTD[:, task], self.match.key.weight_SOI[task]).unsqueeze(2)
                score_BN1 = torch.bmm(query_BNP, key_BP1) / math.sqrt(query_BNP.shape[-1])
                real_N1 = torch.arange(len(table_ND), device=table_ND.device).unsqueeze(1) > 0
                value_BNP = value_BNP * torch.softmax(score_BN1.masked_fill(~real_N1, float("-inf")), dim=1)
            summed.append((value_BNP * weights.weight_Bk.unsqueeze(2)).sum(dim=1))
        return torch.stack(summed, dim=1)


Model = TypeVar("Model", bound=MGOE | MacGNN)


def expanded(model: Model) -> Model:
    """A copy of the model with equal weights whose macro neighbours are aggregated in the literal form."""
    literal = copy.deepcopy(model)
    for side in (literal.user, literal.item):
        _, tasks, dim = side.macro.table.weight_NTD.shape
        macro = ExpandedNeighbours(side.macro.table.groups, tasks, dim, side.macro.options)
        macro.load_state_dict(side.macro.state_dict())
        side.macro = macro
    return literal
