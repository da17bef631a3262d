"""Id tables spread over the workers of a run.

A worker sends the ids of its rows to those that hold them and gets vectors back; the backward pass takes the way back
and moves the rows at once, so that no gradient of a table is ever kept. Gradients are averaged over workers, as those
of the dense part are. All reads of a table go in one call: a second one would be a second step of Adagrad.
Legend: B rows, n rows of a table, W its width, C blocks of columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import UserError
from model.nets.id_table import FetchedIds, IdTable
from model.nets.interface import Architecture, Batch
from model.training.config import TrainingConfig
from model.training.placement import place
from model.training.tables import Kind, LocalTables, Tables, Tensors, large_id_tables
from model.training.torchrec_collection import TorchRecCollection
from model.training.world import World


class ShardedTables:
    """`tables` of `architecture`, taken out of it and dealt to the workers. Parts are named `<name>.weight.<block>`.

    Raises UserError where TorchRec is not installed, or a table cannot be cut as the config asks.
    """

    def __init__(
        self, architecture: Architecture, tables: Mapping[str, IdTable], config: TrainingConfig, world: World
    ) -> None:
        self._architecture = architecture
        self._world = world
        self._peak = config.peak_of_tables
        self._shapes = {name: (table.rows, table.width) for name, table in tables.items()}
        self._placed = place(self._shapes, world.size, config.blocks_of_tables)
        reads = 2 if architecture.reads_recents else 1
        self._collection = TorchRecCollection(self._shapes, self._placed, reads, config, world)
        initial = {f"{name}.weight": table.weight.detach() for name, table in tables.items()}
        _copy(self._weights(), self.part(initial))
        self._fetched: dict[str, FetchedIds] = {}
        for name, table in tables.items():
            self._fetched[name] = FetchedIds(table)
            architecture.set_submodule(name, self._fetched[name])

    @property
    def apart(self) -> frozenset[str]:
        return frozenset(f"{name}.weight" for name in self._shapes)

    def fetch(self, batch: Batch) -> None:
        names = {id(fetched): name for name, fetched in self._fetched.items()}
        asked: dict[str, list[tuple[Tensor, Tensor | None]]] = {}
        for read in self._architecture.id_reads(batch):
            if id(read.table) in names:
                table = read.table
                asked[names[id(table)]] = [(table.row_of(table.dropped(read.id_B)), None)]
                if read.recent_BL is not None:
                    asked[names[id(table)]].append((table.row_of(read.recent_BL), read.weight_BL))
        for name, answers in self._collection.look_up(asked).items():
            self._fetched[name].fetched(*answers)

    def begin(self, factor: float) -> None:
        self._collection.rate(self._peak * factor)

    def step(self) -> None:
        """The backward pass has moved the rows."""

    def weights(self) -> Tensors:
        return {name: tensor.clone() for name, tensor in self._weights().items()}

    def sums(self) -> Tensors:
        return {f"{name}.sum.{number}": tensor for (name, number), tensor in self._collection.sums().items()}

    def part(self, whole: Mapping[str, Tensor]) -> Tensors:
        parts: Tensors = {}
        for name, blocks in self._placed.items():
            for number, block in enumerate(blocks):
                if block.rank != self._world.rank:
                    continue
                if f"{name}.weight" in whole:
                    columns_nW = whole[f"{name}.weight"][:, block.first : block.first + block.width]
                    parts[f"{name}.weight.{number}"] = columns_nW.clone()
                if f"{name}.sum" in whole:
                    parts[f"{name}.sum.{number}"] = whole[f"{name}.sum"][:, number].clone()
        return parts

    def whole(self, parts: Mapping[str, Tensor], kind: Kind) -> Tensors:
        whole: Tensors = {}
        for name, blocks in self._placed.items():
            rows = self._shapes[name][0]
            columns = []
            for number, block in enumerate(blocks):
                shape = (rows, block.width) if kind == "weight" else (rows, 1)
                columns.append(self._to_the_first(parts.get(f"{name}.{kind}.{number}"), shape, block.rank))
            if self._world.rank == 0:
                whole[f"{name}.{kind}"] = torch.cat([column for column in columns if column is not None], dim=1)
        return whole

    def _to_the_first(self, part: Tensor | None, shape: tuple[int, int], holder: int) -> Tensor | None:
        """On rank 0 what `holder` has; None elsewhere."""
        if holder == 0:
            return None if part is None else part.view(shape)
        if part is not None:
            dist.send(part.contiguous(), 0)
        if self._world.rank != 0:
            return None
        received = torch.empty(shape, device=self._world.device)
        dist.recv(received, holder)
        return received

    def load(self, weights: Mapping[str, Tensor], sums: Mapping[str, Tensor]) -> None:
        _copy(self._weights(), weights)
        _copy(self.sums(), sums)

    def _weights(self) -> Tensors:
        return {f"{name}.weight.{number}": tensor for (name, number), tensor in self._collection.weights().items()}


def tables_of(architecture: Architecture, config: TrainingConfig, world: World) -> Tables:
    """The id tables that `table_sharding` is about; with several workers they leave the architecture.

    Raises UserError where none is large enough to be sharded, or sharding is not possible here.
    """
    large = large_id_tables(architecture, config)
    if config.table_sharding != "none" and not large:
        raise UserError(
            f"table_sharding is {config.table_sharding} but no id table has {config.sparse_from_rows} rows: "
            "lower sparse_from_rows, or set table_sharding to none"
        )
    if world.size == 1 or not large:
        return LocalTables(large, config)
    return ShardedTables(architecture, large, config, world)


@torch.no_grad()
def _copy(into: Mapping[str, Tensor], parts: Mapping[str, Tensor]) -> None:
    for name, tensor in into.items():
        tensor.copy_(parts[name])
