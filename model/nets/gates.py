"""Gates: for every task a softmax over experts, computed from a shared input.

Legend: B rows, T gates, E experts, I gate inputs, O expert outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.nets.stacked import StackedLinear


class Gates(nn.Module):
    """alpha^t = softmax(W_g^t x + c^t) (MMoE, KDD'18, eq. 7)."""

    def __init__(self, tasks: int, inputs: int, experts: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = StackedLinear(tasks, inputs, experts, bias)

    def forward(self, x_BI: Tensor) -> Tensor:
        """[B, I] -> alpha [B, T, E]."""
        return torch.softmax(self.linear.shared(x_BI), dim=-1)


def mix(alpha_BTE: Tensor, experts_BEO: Tensor) -> Tensor:
    """sum_e alpha[t, e] expert[e]: [B, T, O]."""
    return torch.bmm(alpha_BTE, experts_BEO)
