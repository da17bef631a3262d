"""Tables of macro nodes. Legend: B rows, T tasks, N = K + 1 macro nodes (0 = padding and cold), D width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MacroTable(nn.Module):
    """Macro embeddings of one side, one table a task, side by side: weight_NTD. Xavier uniform, as in MacGNN."""

    def __init__(self, groups: int, tasks: int, dim: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (groups + dim))
        self.weight_NTD = nn.Parameter(torch.empty(groups + 1, tasks, dim).uniform_(-bound, bound))
        self.groups = groups


class TaskTable(nn.Module):
    """Macro task table (MGOE, prediction tower): for each task the embedding of the node's dominant macro node.

    Row 0 of a task stands for "no positive of that task yet".
    """

    offset_T: Tensor

    def __init__(self, groups: int, tasks: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(tasks * (groups + 1), dim)
        nn.init.xavier_uniform_(self.table.weight)
        self.register_buffer("offset_T", torch.arange(tasks) * (groups + 1), persistent=False)

    def forward(self, dominant_BT: Tensor) -> Tensor:
        """int64 [B, T] -> [B, T, D]."""
        return self.table(dominant_BT + self.offset_T)  # type: ignore[no-any-return]
