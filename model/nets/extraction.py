"""One extraction level of PLE: experts of each task's own beside shared ones, and a gate for each reader.

Legend: B rows, T tasks, E experts of one task, S shared experts, A = T E + S all experts, I inputs, O expert outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.nets.config import PLEConfig
from model.nets.gates import mix
from model.nets.stacked import StackedLinear, StackedMLP


class Extraction(nn.Module):
    """Customised gate control (RecSys'20, eq. 1 to 3); with a gate for the shared part unless it is the last level."""

    def __init__(self, tasks: int, inputs: int, config: PLEConfig, last: bool) -> None:
        super().__init__()
        self.tasks, self.own = tasks, config.task_experts
        self.task_experts = StackedMLP(tasks * self.own, inputs, config.expert, config)
        self.shared_experts = StackedMLP(config.shared_experts, inputs, config.expert, config)
        self.gates = StackedLinear(tasks, inputs, self.own + config.shared_experts)
        self.shared_gate = None if last else StackedLinear(1, inputs, tasks * self.own + config.shared_experts)
        self.outputs = self.task_experts.outputs

    def first(self, x_BI: Tensor) -> tuple[Tensor, Tensor | None]:
        """All tasks and the shared part read the same input: [B, T, O] and the shared part's [B, O]."""
        own_BAO, shared_BSO = self.task_experts.shared(x_BI), self.shared_experts.shared(x_BI)
        gate_B1A = None if self.shared_gate is None else self.shared_gate.shared(x_BI)
        return self._select(own_BAO, shared_BSO, self.gates.shared(x_BI), gate_B1A)

    def forward(self, task_BTI: Tensor, shared_BI: Tensor) -> tuple[Tensor, Tensor | None]:
        """Every task reads its own output of the level below, the shared part the shared one."""
        own_BAO = self.task_experts(task_BTI.repeat_interleave(self.own, dim=1))
        shared_BSO = self.shared_experts.shared(shared_BI)
        gate_B1A = None if self.shared_gate is None else self.shared_gate.shared(shared_BI)
        return self._select(own_BAO, shared_BSO, self.gates(task_BTI), gate_B1A)

    def _select(
        self, own_BAO: Tensor, shared_BSO: Tensor, gate_BTG: Tensor, gate_B1A: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        alpha_BTG = torch.softmax(gate_BTG, dim=-1)
        own_BTEO = own_BAO.reshape(own_BAO.shape[0], self.tasks, self.own, -1)
        own_BTO = (alpha_BTG[..., : self.own].unsqueeze(-1) * own_BTEO).sum(dim=2)
        task_BTO = own_BTO + mix(alpha_BTG[..., self.own :], shared_BSO)
        if gate_B1A is None:
            return task_BTO, None
        return task_BTO, mix(torch.softmax(gate_B1A, dim=-1), torch.cat([own_BAO, shared_BSO], dim=1)).squeeze(1)
