"""Multi-gate mixture of experts (Ma et al., KDD'18)."""

from __future__ import annotations

from torch import Tensor

from model.nets.config import MMoEConfig
from model.nets.gates import Gates, mix
from model.nets.interface import InputSpec
from model.nets.plain import PlainArchitecture
from model.nets.stacked import StackedMLP, Towers


class MMoE(PlainArchitecture):
    """logit^t = tower^t(sum_e gate^t_e(x) expert_e(x)) (eq. 5 to 7)."""

    def __init__(self, spec: InputSpec, config: MMoEConfig) -> None:
        super().__init__(spec, config.inputs)
        form = (config.activation, config.norm, config.dropout)
        tasks = len(spec.tasks)
        self.experts = StackedMLP(config.experts, self.width, config.expert, *form)
        self.gates = Gates(tasks, self.width, config.experts) if config.experts > 1 else None
        self.towers = Towers(tasks, self.experts.outputs, config.tower, *form)

    def logits(self, x_BX: Tensor) -> Tensor:
        expert_BEO: Tensor = self.experts.shared(x_BX)
        if self.gates is None:
            mixed_BTO = expert_BEO.expand(-1, len(self.spec.tasks), -1)
        else:
            mixed_BTO = mix(self.gates(x_BX), expert_BEO)
        return self.towers(mixed_BTO)  # type: ignore[no-any-return]
