"""The large id tables of a sharded run, and where their rows come from: this worker's memory, or that of several.

Legend: n rows of a table, W its width, C blocks of columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from torch import Tensor, nn

from model.nets.id_table import IdTable
from model.nets.interface import Batch
from model.training.config import TrainingConfig
from model.training.rowwise_adagrad import RowWiseAdagrad

Tensors = dict[str, Tensor]
Kind = Literal["weight", "sum"]


class Tables(Protocol):
    """Id tables with an optimiser of their own. Every method is called by all workers at the same moment.

    In checkpoints a table is whole, whoever holds it: `<name>.weight` [n, W] and `<name>.sum` [n, C], so that another
    number of workers can go on from it.
    """

    @property
    def apart(self) -> frozenset[str]:
        """Names of the weights that have left the architecture."""

    def fetch(self, batch: Batch) -> None:
        """Brings the rows that the next forward pass on `batch` reads; needs no call where they lie here."""

    def begin(self, factor: float) -> None:
        """Before a step: the learning rate is its peak times `factor`, and gradients start from nothing."""

    def step(self) -> None:
        """After the backward pass; a fused optimiser has moved the rows by then."""

    def weights(self) -> Tensors:
        """This worker's part of the tables that are not in the architecture, copied."""

    def sums(self) -> Tensors:
        """This worker's part of the optimiser's state."""

    def whole(self, parts: Mapping[str, Tensor], kind: Kind) -> Tensors:
        """What `weights` (or `sums`) gave on every worker, put together; on workers other than the first, nothing."""

    def part(self, whole: Mapping[str, Tensor]) -> Tensors:
        """This worker's part of what `whole` gave."""

    def load(self, weights: Mapping[str, Tensor], sums: Mapping[str, Tensor]) -> None:
        """Takes over parts as `weights` and `sums` give them."""


def large_id_tables(architecture: nn.Module, config: TrainingConfig) -> dict[str, IdTable]:
    """The id tables that `table_sharding` is about, by their names in the architecture."""
    if config.table_sharding == "none":
        return {}
    tables = {name: part for name, part in architecture.named_modules() if isinstance(part, IdTable)}
    return {name: table for name, table in tables.items() if table.rows >= config.sparse_from_rows}


class LocalTables:
    """One worker: rows and gradients stay in the architecture; the optimiser is the one that several workers have."""

    def __init__(self, tables: Mapping[str, IdTable], config: TrainingConfig) -> None:
        self._tables = dict(tables)
        self._peak = config.peak_of_tables
        self._optimiser: RowWiseAdagrad | None = None
        for table in self._tables.values():
            table.sparse = True
        if self._tables:
            weights = [table.weight for table in self._tables.values()]
            self._optimiser = RowWiseAdagrad(
                weights, lr=self._peak, weight_decay=config.decay_of_tables, blocks=config.blocks_of_tables
            )

    @property
    def apart(self) -> frozenset[str]:
        return frozenset()

    def fetch(self, batch: Batch) -> None:
        """They are here."""

    def begin(self, factor: float) -> None:
        if self._optimiser is not None:
            self._optimiser.param_groups[0]["lr"] = self._peak * factor
            self._optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        if self._optimiser is not None:
            self._optimiser.step()

    def weights(self) -> Tensors:
        return {}

    def sums(self) -> Tensors:
        if self._optimiser is None:
            return {}
        return {f"{name}.sum": self._optimiser.sums(table.weight) for name, table in self._tables.items()}

    def whole(self, parts: Mapping[str, Tensor], kind: Kind) -> Tensors:
        return {name: tensor for name, tensor in parts.items() if name.endswith(kind)}

    def part(self, whole: Mapping[str, Tensor]) -> Tensors:
        return {name: tensor for name, tensor in whole.items() if name.endswith(".sum")}

    def load(self, weights: Mapping[str, Tensor], sums: Mapping[str, Tensor]) -> None:
        for name, table in self._tables.items():
            if self._optimiser is not None:
                self._optimiser.sums(table.weight).copy_(sums[f"{name}.sum"])
