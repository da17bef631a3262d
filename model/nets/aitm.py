"""Adaptive information transfer multi-task model (Xi et al., KDD'21)."""

from __future__ import annotations

import torch
from torch import Tensor

from model.nets.config import AITMConfig
from model.nets.information_transfer import InformationTransfer
from model.nets.interface import InputSpec
from model.nets.plain import PlainArchitecture
from model.nets.stacked import StackedMLP, Towers


class AITM(PlainArchitecture):
    """q^t = bottom^t(x), chained by information transfer, one tower a task."""

    def __init__(self, spec: InputSpec, config: AITMConfig) -> None:
        super().__init__(spec, config.inputs)
        tasks = len(spec.tasks)
        self.bottoms = StackedMLP(tasks, self.width, config.bottom, config)
        self.transfer = InformationTransfer(tasks, self.bottoms.outputs) if tasks > 1 else None
        self.towers = Towers(tasks, self.bottoms.outputs, config.tower, config)
        self.calibrator = config.calibrator
        # A conditional probability may well exceed that of the task before it.
        given = spec.given or (None,) * tasks
        self.ordered = [t for t in range(1, tasks) if given[t] is None and given[t - 1] is None]
        self.excess: Tensor | None = None
        """The calibrator's term of the last training pass."""

    def logits(self, x_BX: Tensor) -> Tensor:
        q_BTO = self.bottoms.shared(x_BX)
        if self.transfer is not None:
            q_BTO = self.transfer(q_BTO)
        logit_BT: Tensor = self.towers(q_BTO)
        self.excess = self._excess(logit_BT) if self.training and self.calibrator > 0 and self.ordered else None
        return logit_BT

    def _excess(self, logit_BT: Tensor) -> Tensor:
        """Mean over rows of sum_t max(p_t - p_(t-1), 0) (section 3.4)."""
        probability_BT = torch.sigmoid(logit_BT)
        step_BT = probability_BT[:, self.ordered] - probability_BT[:, [t - 1 for t in self.ordered]]
        return torch.relu(step_BT).sum(dim=1).mean()

    def auxiliary_loss(self) -> Tensor | None:
        penalty = super().auxiliary_loss()
        if self.excess is None:
            return penalty
        calibrator = self.calibrator * self.excess
        return calibrator if penalty is None else penalty + calibrator
