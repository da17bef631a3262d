"""A mixture of shared experts with one gate a task: the body of MMoE (KDD'18, eq. 6 and 7), and MGOE's deep part.

Legend: B rows, T tasks, E experts, X inputs, O expert outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from model.nets.config import HiddenOptions
from model.nets.gates import Gates, mix
from model.nets.stacked import StackedMLP


class Mixture(nn.Module):
    """f^t(x) = sum_e softmax(W_g^t x)_e expert_e(x)."""

    def __init__(self, tasks: int, inputs: int, experts: int, widths: Sequence[int], options: HiddenOptions) -> None:
        super().__init__()
        self.tasks = tasks
        self.experts = StackedMLP(experts, inputs, widths, options)
        self.gates = Gates(tasks, inputs, experts) if experts > 1 else None
        self.outputs = self.experts.outputs

    def forward(self, x_BX: Tensor) -> Tensor:
        """[B, X] -> [B, T, O]."""
        expert_BEO = self.experts.shared(x_BX)
        if self.gates is None:
            return expert_BEO.expand(-1, self.tasks, -1)
        return mix(self.gates(x_BX), expert_BEO)
