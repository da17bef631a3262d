"""Embeddings of user and item ids, and what a batch reads of them.

A model reads an id table in two ways: the rows of the batch's own ids, and weighted sums over rows (micro neighbours).
Where the rows lie on several workers, both are fetched together before the forward pass (model.training.tables).
Legend: B rows, L recents, W width of an id row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.config import InputOptions


class IdRows(nn.Module):
    """What architectures read ids from: rows that lie here (IdTable), or were fetched for the batch (FetchedIds).

    Whole-id dropout replaces an id by the unknown one, so that the unknown's row learns to stand for it. penalty: id_l2
    times the mean squared norm of the rows of the last training look-up.
    """

    nodes: int
    rows: int
    width: int
    id_dropout: float
    l2: float
    penalty: Tensor | None

    def look_up(self, id_B: Tensor) -> Tensor:
        """int64 [B] -> [B, W]."""
        raise NotImplementedError

    def weighted_sum(self, id_BL: Tensor, weight_BL: Tensor) -> Tensor:
        """int64 [B, L], float [B, L] -> [B, W]."""
        raise NotImplementedError

    def dropped(self, id_B: Tensor) -> Tensor:
        """The ids, in training some of them replaced by the unknown one."""
        if self.training and self.id_dropout > 0:
            return id_B * (torch.rand(id_B.shape, device=id_B.device) >= self.id_dropout)
        return id_B

    def row_of(self, id: Tensor) -> Tensor:  # noqa: A002 - the batch's own word
        """The row of every id: the id itself, or where there are fewer rows than nodes its multiplicative hash.

        Source: Knuth, TAOCP 3, 6.4, with the factor that is nearest to 2^32 over the golden ratio.
        """
        if self.rows == self.nodes:
            return id
        hashed = ((id * 2_654_435_761 & 0xFFFF_FFFF) * (self.rows - 1) >> 32) + 1
        return torch.where(id == 0, id, hashed)

    def penalised(self, id_BW: Tensor) -> Tensor:
        """The same rows; keeps their penalty."""
        self.penalty = self.l2 * id_BW.square().sum(-1).mean() if self.training and self.l2 > 0 else None
        return id_BW


class IdTable(nn.Embedding, IdRows):
    """Embeddings of the users or items. Row 0, the unknown, starts at zero and is trained where it occurs."""

    def __init__(self, nodes: int, width: int, options: InputOptions) -> None:
        rows = nodes if options.id_rows is None else min(nodes, options.id_rows)
        super().__init__(rows, width)
        self.nodes, self.rows, self.width = nodes, rows, width
        self.id_dropout, self.l2 = options.id_dropout, options.id_l2
        self.penalty: Tensor | None = None
        if options.id_init == "xavier":
            nn.init.xavier_uniform_(self.weight)
        else:
            nn.init.normal_(self.weight, std=options.id_std)
        with torch.no_grad():
            self.weight[0].zero_()

    def look_up(self, id_B: Tensor) -> Tensor:
        return self.penalised(self(self.row_of(self.dropped(id_B))))

    def weighted_sum(self, id_BL: Tensor, weight_BL: Tensor) -> Tensor:
        return functional.embedding_bag(
            self.row_of(id_BL),
            self.weight,
            mode="sum",
            per_sample_weights=weight_BL.to(self.weight.dtype),
            sparse=self.sparse,
        )


class FetchedIds(IdRows):
    """Stands for an IdTable whose rows lie elsewhere: hands out what `fetched` put in for the batch at hand."""

    def __init__(self, table: IdTable) -> None:
        super().__init__()
        self.nodes, self.rows, self.width = table.nodes, table.rows, table.width
        self.id_dropout, self.l2 = table.id_dropout, table.l2
        self.penalty: Tensor | None = None
        self._rows_BW: Tensor | None = None
        self._sums_BW: Tensor | None = None

    def fetched(self, rows_BW: Tensor, sums_BW: Tensor | None = None) -> None:
        """Answers to the next `look_up` and `weighted_sum`; dropout has been at work already."""
        self._rows_BW, self._sums_BW = rows_BW, sums_BW

    def look_up(self, id_B: Tensor) -> Tensor:
        return self.penalised(_answer(self._rows_BW, id_B))

    def weighted_sum(self, id_BL: Tensor, weight_BL: Tensor) -> Tensor:
        return _answer(self._sums_BW, id_BL)


@dataclass(frozen=True)
class IdReads:
    """All that one batch reads of one table. recent_BL, weight_BL: None where no weighted sum is read."""

    table: IdRows
    id_B: Tensor
    recent_BL: Tensor | None = None
    weight_BL: Tensor | None = None


def id_penalty(model: nn.Module) -> Tensor | None:
    """Sum of the penalties of all id tables of a model; None where there is none."""
    penalties = [table.penalty for table in _tables(model.modules()) if table.penalty is not None]
    return torch.stack(penalties).sum() if penalties else None


def _tables(modules: Iterable[nn.Module]) -> list[IdRows]:
    return [module for module in modules if isinstance(module, IdRows)]


def _answer(fetched_BW: Tensor | None, asked: Tensor) -> Tensor:
    if fetched_BW is None or len(fetched_BW) != len(asked):
        raise RuntimeError("rows of a sharded id table are read before they were fetched for this batch")
    return fetched_BW
