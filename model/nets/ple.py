"""Progressive layered extraction (Tang et al., RecSys'20)."""

from __future__ import annotations

from torch import Tensor, nn

from model.nets.config import PLEConfig
from model.nets.extraction import Extraction
from model.nets.interface import InputSpec
from model.nets.plain import PlainArchitecture
from model.nets.stacked import Towers


class PLE(PlainArchitecture):
    """Levels of task-specific and shared experts, then one tower a task."""

    def __init__(self, spec: InputSpec, config: PLEConfig) -> None:
        super().__init__(spec, config.inputs)
        tasks, width = len(spec.tasks), self.width
        self.levels = nn.ModuleList()
        for level in range(config.levels):
            extraction = Extraction(tasks, width, config, last=level == config.levels - 1)
            self.levels.append(extraction)
            width = extraction.outputs
        self.towers = Towers(tasks, width, config.tower, config)

    def logits(self, x_BX: Tensor) -> Tensor:
        first = self.levels[0]
        assert isinstance(first, Extraction)  # noqa: S101
        task_BTO, shared_BO = first.first(x_BX)
        for level in self.levels[1:]:
            task_BTO, shared_BO = level(task_BTO, shared_BO)
        logit_BT: Tensor = self.towers(task_BTO)
        return logit_BT
