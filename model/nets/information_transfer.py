"""Information transfer along the tasks, weak to strong (AITM, KDD'21, eq. 3 to 6). Legend: B rows, T tasks, D width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.nets.stacked import StackedLinear


class InformationTransfer(nn.Module):
    """q~^1 = q^1; p = G_{t-1} q~^{t-1}; q~^t = sum over x in {p, q^t} of softmax(<h2(x), h3(x)> / sqrt(D)) h1(x).

    Only the chain through p is sequential: h1, h2, h3 of all q^t are one product each.
    """

    def __init__(self, tasks: int, dim: int) -> None:
        super().__init__()
        steps = tasks - 1
        self.transfer = StackedLinear(steps, dim, dim)
        self.heads = StackedLinear(steps, dim, 3 * dim, bias=False)

    def forward(self, q_BTD: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]; T = 1 passes through."""
        own_BSH = self.heads(q_BTD[:, 1:])
        reached = [q_BTD[:, 0]]
        for step in range(own_BSH.shape[1]):
            bias = None if self.transfer.bias_SO is None else self.transfer.bias_SO[step]
            p_BD = torch.nn.functional.linear(reached[-1], self.transfer.weight_SOI[step], bias)
            p_BH = p_BD @ self.heads.weight_SOI[step].T
            value_B2D, key_B2D, query_B2D = torch.stack([p_BH, own_BSH[:, step]], dim=1).chunk(3, dim=-1)
            score_B2 = (key_B2D * query_B2D).sum(-1) / math.sqrt(value_B2D.shape[-1])
            reached.append((torch.softmax(score_B2, dim=1).unsqueeze(-1) * value_B2D).sum(1))
        return torch.stack(reached, dim=1)
