"""The training objective as a module: forward pass and loss in one call, so that DDP and torch.compile see both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel

from model.errors import UserError
from model.nets.interface import Architecture, Batch
from model.training.config import TrainingConfig
from model.training.world import World


def loss_weights(tasks: tuple[str, ...], config: TrainingConfig) -> list[float]:
    """lambda of every task, in order. Raises UserError for weights of tasks that the log does not have."""
    unknown = sorted(set(config.loss_weights) - set(tasks))
    if unknown:
        raise UserError(f"loss_weights names the task {unknown[0]!r}, but the log's tasks are {', '.join(tasks)}")
    return [config.loss_weights.get(task, 1.0) for task in tasks]


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


def prepared(architecture: Architecture, config: TrainingConfig, world: World, *, sparse: bool) -> nn.Module:
    """The objective as a run calls it: compiled where asked for, with gradients averaged over the workers.

    sparse: whether some gradients are. Raises UserError for those on several GPUs.
    """
    objective: nn.Module = Objective(architecture, config.precision, world.device.type)
    if config.compile:
        objective = torch.compile(objective)  # type: ignore[assignment]
    if world.size == 1:
        return objective
    if world.device.type == "cuda" and sparse:
        raise UserError("NCCL sums no sparse gradients: set sparse_optimiser to none, or train on one GPU")
    # Running moments need no broadcast at every step: they become the same where they are read (share_moments). What a
    # step uses never changes, so parameters of an unused option are found once, in the first step.
    return DistributedDataParallel(
        objective, forward_sync_buffers=False, static_graph=True, gradient_as_bucket_view=not sparse
    )
