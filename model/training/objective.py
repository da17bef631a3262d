"""The training objective as a module: forward pass and loss in one call, so that DDP and torch.compile see both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from model.nets.interface import Architecture, Batch


class Objective(nn.Module):
    """sum_t lambda_t BCE(logit_t, label_t) over observed cells, plus the architecture's auxiliary loss.

    An architecture of the entire space (ESMM) is given labels of that space: model.training.space.
    """

    def __init__(self, architecture: Architecture, precision: str, device_type: str) -> None:
        super().__init__()
        self.architecture = architecture
        self._autocast = precision == "bf16"
        self._device_type = device_type

    def forward(self, batch: Batch, labels_BT: Tensor, weight_BT: Tensor) -> Tensor:
        """A scalar. weight_BT: what each cell counts (model.training.feed.Labelled)."""
        with torch.autocast(self._device_type, dtype=torch.bfloat16, enabled=self._autocast):
            logits_BT = self.architecture.training_logits(batch)
            auxiliary = self.architecture.auxiliary_loss()
        loss = binary_cross_entropy_with_logits(logits_BT.float(), labels_BT, weight_BT, reduction="sum")
        return loss if auxiliary is None else loss + auxiliary.float()
