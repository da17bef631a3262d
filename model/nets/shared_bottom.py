"""Shared bottom: one net of all inputs, one tower a task (Caruana, Machine Learning 1997)."""

from __future__ import annotations

from torch import Tensor

from model.nets.config import SharedBottomConfig
from model.nets.interface import InputSpec
from model.nets.plain import PlainArchitecture
from model.nets.stacked import StackedMLP, Towers


class SharedBottom(PlainArchitecture):
    """logit^t = tower^t(bottom(x))."""

    def __init__(self, spec: InputSpec, config: SharedBottomConfig) -> None:
        super().__init__(spec, config.inputs)
        self.bottom = StackedMLP(1, self.width, config.bottom, config)
        self.towers = Towers(len(spec.tasks), self.bottom.outputs, config.tower, config)

    def logits(self, x_BX: Tensor) -> Tensor:
        hidden_B1O = self.bottom.shared(x_BX)
        logit_BT: Tensor = self.towers(hidden_B1O.expand(-1, len(self.spec.tasks), -1))
        return logit_BT
