"""Multi-gate mixture of experts (Ma et al., KDD'18)."""

from __future__ import annotations

from torch import Tensor

from model.nets.config import MMoEConfig
from model.nets.interface import InputSpec
from model.nets.mixture import Mixture
from model.nets.plain import PlainArchitecture
from model.nets.stacked import Towers


class MMoE(PlainArchitecture):
    """logit^t = tower^t(sum_e gate^t_e(x) expert_e(x)) (eq. 5)."""

    def __init__(self, spec: InputSpec, config: MMoEConfig) -> None:
        super().__init__(spec, config.inputs)
        tasks = len(spec.tasks)
        self.mixture = Mixture(tasks, self.width, config.experts, config.expert, config)
        self.towers = Towers(tasks, self.mixture.outputs, config.tower, config)

    def logits(self, x_BX: Tensor) -> Tensor:
        logit_BT: Tensor = self.towers(self.mixture(x_BX))
        return logit_BT
