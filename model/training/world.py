"""The workers of one run: this one's rank, and the few sums that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import UserError
from model.training.config import TrainingConfig


@dataclass(frozen=True)
class World:
    """rank: 0-based, of `size` workers. With size > 1 a torch.distributed process group is up."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest of all workers, cell by cell, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor

    def agreed(self, decision: bool) -> bool:
        """What rank 0 decides; that of the others is not looked at."""
        if self.size == 1:
            return decision
        told = torch.tensor([decision], dtype=torch.uint8, device=self.device)
        dist.broadcast(told, 0)
        return bool(told)

    def as_the_first(self, tensors: Iterable[Tensor]) -> None:
        """Gives every worker rank 0's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Returns once every worker has come here."""
        if self.size > 1:
            dist.barrier()


def device_of(config: TrainingConfig) -> torch.device:
    """The device that the config asks for. Raises UserError for cuda where torch sees none."""
    present = torch.cuda.is_available()
    if config.device == "cuda" and not present:
        raise UserError("training device is cuda, but torch sees no GPU here: set device to auto or cpu")
    return torch.device("cuda" if config.device != "cpu" and present else "cpu")
