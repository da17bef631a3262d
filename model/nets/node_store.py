"""Everything that models look up by node index, held as compact tensors on one device and gathered by the batch.

Legend: N rows, B rows of a batch, n nodes of a side (row 0 = unknown), S snapshots of the graph, R moments of the
rates, K macro nodes, k kept edges, T tasks, L recents, F sparse features, G dense features, M values of a multi-valued
one. Tables that change with time are stacked and flattened ([S * n, ...]): one index_select serves any mix of moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.data.dataset import Columns, Dataset, Interactions, Nodes
from model.data.schema import LogSchema
from model.errors import UserError
from model.graph.macro_graph import MacroEdges, MacroGraph, Side
from model.nets.interface import (
    Batch,
    EdgeBatch,
    FeatureBatch,
    FeatureCards,
    GraphBatch,
    GraphCards,
    InputSpec,
    NodeBatch,
)


@dataclass(frozen=True)
class Rows:
    """Interactions as tensors of the store's device, with the moments that every row may read looked up once.

    user_N, item_N: int32. snapshot_N, moment_N: int32, indices into the graph's snapshots and the rates' moments (0
    where the store holds none). labels_NT: uint8. observed_NT: bool. context: compact feature tensors.
    """

    user_N: Tensor
    item_N: Tensor
    snapshot_N: Tensor
    moment_N: Tensor
    labels_NT: Tensor
    observed_NT: Tensor
    context: FeatureTable

    def __len__(self) -> int:
        return len(self.user_N)


@dataclass(frozen=True)
class FeatureTable:
    """Features at rest. sparse_nF: int32. dense_nG: float32. multi: int32 [n, M] each."""

    sparse_nF: Tensor
    dense_nG: Tensor
    multi: tuple[Tensor, ...]

    @staticmethod
    def of(columns: Columns, device: torch.device) -> FeatureTable:
        return FeatureTable(
            _tensor(columns.sparse, device),
            _tensor(columns.dense, device),
            tuple(_tensor(values, device) for values in columns.multi),
        )

    def take(self, index_B: Tensor) -> FeatureBatch:
        """The features of B rows, codes widened to int64."""
        return FeatureBatch(
            self.sparse_nF.index_select(0, index_B).long(),
            self.dense_nG.index_select(0, index_B),
            tuple(values.index_select(0, index_B).long() for values in self.multi),
        )


@dataclass(frozen=True)
class GraphTable:
    """One side of the macro graph over all snapshots, flattened to [S * n, ...]; groups do not change with time."""

    group_n: Tensor
    macro1: Tensor
    log_count1: Tensor
    macro2: Tensor
    log_count2: Tensor
    dominant: Tensor
    recent: Tensor
    recent_score: Tensor
    log_degree: Tensor
    log_exposure: Tensor
    neighbour_mean: Tensor | None
    task_log_count: Tensor | None

    @staticmethod
    def of(group: npt.NDArray[np.int32], sides: tuple[Side, ...], device: torch.device) -> GraphTable:
        hop1, hop2 = [side.hop1 for side in sides], [side.hop2 for side in sides]
        means = [side.neighbour_mean for side in sides if side.neighbour_mean is not None]
        by_task = [side.task_log_count for side in sides if side.task_log_count is not None]
        return GraphTable(
            group_n=_tensor(group, device),
            macro1=_stacked_macro(hop1, device),
            log_count1=_stacked([edges.log_count for edges in hop1], device),
            macro2=_stacked_macro(hop2, device),
            log_count2=_stacked([edges.log_count for edges in hop2], device),
            dominant=_stacked([side.dominant for side in sides], device),
            recent=_stacked([side.recent for side in sides], device),
            recent_score=_stacked([side.recent_score for side in sides], device),
            log_degree=_stacked([side.log_degree for side in sides], device),
            log_exposure=_stacked([side.log_exposure for side in sides], device),
            neighbour_mean=_stacked(means, device) if means else None,
            task_log_count=_stacked(by_task, device) if by_task else None,
        )

    def take(self, index_B: Tensor, snapshot_B: Tensor) -> GraphBatch:
        """The graph's view of B nodes, each at its own snapshot."""
        row_B = snapshot_B * len(self.group_n) + index_B
        return GraphBatch(
            group_B=self.group_n.index_select(0, index_B).long(),
            hop1=EdgeBatch(_long(self.macro1, row_B), _float(self.log_count1, row_B)),
            hop2=EdgeBatch(_long(self.macro2, row_B), _float(self.log_count2, row_B)),
            dominant_BT=_long(self.dominant, row_B),
            recent_BL=_long(self.recent, row_B),
            recent_score_BL=_float(self.recent_score, row_B),
            log_degree_BT=_float(self.log_degree, row_B),
            log_exposure_B=_float(self.log_exposure, row_B),
            neighbour_mean_BC=None if self.neighbour_mean is None else _float(self.neighbour_mean, row_B),
            task_log_count_BkT=None if self.task_log_count is None else _float(self.task_log_count, row_B),
        )


@dataclass(frozen=True)
class SideTable:
    """One side's nodes. trained_n: the index itself, or 0 where the node's id has no trained embedding.

    rates: float32 [R * n, D], or None without dense history.
    """

    trained_n: Tensor
    features: FeatureTable
    graph: GraphTable | None
    rates: Tensor | None

    def take(self, index_B: Tensor, snapshot_B: Tensor, moment_B: Tensor) -> NodeBatch:
        """B nodes, each at its own moment; dense history follows the dense features of the node's own table."""
        features = self.features.take(index_B)
        if self.rates is not None:
            rates_BD = self.rates.index_select(0, moment_B * len(self.trained_n) + index_B)
            features = FeatureBatch(features.sparse_BF, torch.cat([features.dense_BG, rates_BD], dim=1), features.multi)
        graph = None if self.graph is None else self.graph.take(index_B, snapshot_B)
        return NodeBatch(_long(self.trained_n, index_B), features, graph)


@dataclass(frozen=True)
class NodeStore:
    """Users and items of one dataset as a model of `spec` reads them. Made by `NodeStore.of` or `from_tables`.

    snapshots_S, moments_R: int64 unix seconds, ascending; empty where there is no graph or no dense history.
    """

    spec: InputSpec
    device: torch.device
    user_table: SideTable
    item_table: SideTable
    snapshots_S: Tensor
    moments_R: Tensor

    @staticmethod
    def of(
        dataset: Dataset, graph: MacroGraph | None, history_rates: bool = False, device: torch.device | str = "cpu"
    ) -> NodeStore:
        """Tensors of all nodes. Raises UserError where the graph or the rates do not belong to the dataset."""
        place = torch.device(device)
        if history_rates and dataset.rates is None:
            raise UserError(
                f"log {dataset.schema.name!r} holds no history rates: ingest it with rates, or train without"
            )
        if graph is not None:
            check_graph_fits(graph, dataset)
        rates = dataset.rates if history_rates else None
        snapshots = () if graph is None else graph.snapshots
        users, items = _graph_tables(graph, place)
        return NodeStore(
            spec=spec_of(dataset, graph, history_rates),
            device=place,
            user_table=_side_table(dataset.users, users, None if rates is None else rates.user, place),
            item_table=_side_table(dataset.items, items, None if rates is None else rates.item, place),
            snapshots_S=torch.tensor([snapshot.as_of for snapshot in snapshots], dtype=torch.int64, device=place),
            moments_R=_tensor(np.empty(0, np.int64) if rates is None else rates.as_of, place),
        )

    @staticmethod
    def from_tables(spec: InputSpec, users: SideTable, items: SideTable) -> NodeStore:
        """Tables of one moment, which rows of any time read: what serving holds."""
        always = torch.empty(0, dtype=torch.int64)
        return NodeStore(spec, users.trained_n.device, users, items, snapshots_S=always, moments_R=always)

    def users(self, index_B: Tensor, time_B: Tensor) -> NodeBatch:
        """Users `index_B` (node indices) as known at `time_B` (int64, unix seconds)."""
        return self.user_table.take(index_B, _last(self.snapshots_S, time_B), _last(self.moments_R, time_B))

    def items(self, index_B: Tensor, time_B: Tensor) -> NodeBatch:
        """Items `index_B` (node indices) as known at `time_B` (int64, unix seconds)."""
        return self.item_table.take(index_B, _last(self.snapshots_S, time_B), _last(self.moments_R, time_B))

    def rows(self, interactions: Interactions) -> Rows:
        """All of `interactions` on the store's device, moments looked up once."""
        time_N = _tensor(interactions.time, self.device)
        return Rows(
            user_N=_tensor(interactions.user, self.device),
            item_N=_tensor(interactions.item, self.device),
            snapshot_N=_last(self.snapshots_S, time_N).to(torch.int32),
            moment_N=_last(self.moments_R, time_N).to(torch.int32),
            labels_NT=_tensor(interactions.labels, self.device),
            observed_NT=_tensor(interactions.observed, self.device),
            context=FeatureTable.of(interactions.context, self.device),
        )

    def batch(self, interactions: Interactions | Rows, rows_B: Tensor) -> Batch:
        """What a model reads of rows `rows_B` (int64). Callers that take many batches pass `rows(interactions)`."""
        table = interactions if isinstance(interactions, Rows) else self.rows(interactions)
        user_B = table.user_N.index_select(0, rows_B).long()
        item_B = table.item_N.index_select(0, rows_B).long()
        snapshot_B = table.snapshot_N.index_select(0, rows_B).long()
        moment_B = table.moment_N.index_select(0, rows_B).long()
        return Batch(
            self.user_table.take(user_B, snapshot_B, moment_B),
            self.item_table.take(item_B, snapshot_B, moment_B),
            table.context.take(rows_B),
        )

    def targets(self, interactions: Interactions | Rows, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """labels_BT (float32) and observed_BT (bool) of rows `rows_B`."""
        table = interactions if isinstance(interactions, Rows) else self.rows(interactions)
        return table.labels_NT.index_select(0, rows_B).float(), table.observed_NT.index_select(0, rows_B)


def spec_of(dataset: Dataset, graph: MacroGraph | None, history_rates: bool) -> InputSpec:
    """The sizes that a model of this dataset and graph is built with."""
    rates = dataset.rates if history_rates else None
    parts = (dataset.train, dataset.validate, dataset.test)
    return InputSpec(
        tasks=dataset.schema.task_names,
        n_users=len(dataset.users),
        n_items=len(dataset.items),
        user=_cards((dataset.users.features,), 0 if rates is None else rates.user.shape[2]),
        item=_cards((dataset.items.features,), 0 if rates is None else rates.item.shape[2]),
        context=_cards(tuple(part.context for part in parts), 0),
        graph=None if graph is None else _graph_cards(graph),
        given=_given(dataset.schema),
    )


def check_graph_fits(graph: MacroGraph, dataset: Dataset) -> None:
    """Raises UserError unless the graph's node tables and tasks are those of the dataset."""
    found = (len(graph.user_group), len(graph.item_group), tuple(graph.tasks))
    wanted = (len(dataset.users), len(dataset.items), dataset.schema.task_names)
    if found != wanted:
        raise UserError(
            f"graph {graph.version} was built from another log: "
            f"its users, items and tasks are {found}, the log's are {wanted}"
        )


def _side_table(
    nodes: Nodes, graph: GraphTable | None, rates: npt.NDArray[np.float32] | None, device: torch.device
) -> SideTable:
    trained = np.where(nodes.seen, np.arange(len(nodes), dtype=np.int64), 0)
    flat = None if rates is None else _tensor(rates.reshape(-1, rates.shape[2]), device)
    return SideTable(_tensor(trained, device), FeatureTable.of(nodes.features, device), graph, flat)


def _graph_tables(graph: MacroGraph | None, device: torch.device) -> tuple[GraphTable | None, GraphTable | None]:
    if graph is None:
        return None, None
    return (
        GraphTable.of(graph.user_group, tuple(snapshot.user for snapshot in graph.snapshots), device),
        GraphTable.of(graph.item_group, tuple(snapshot.item for snapshot in graph.snapshots), device),
    )


def _cards(parts: tuple[Columns, ...], extra_dense: int) -> FeatureCards:
    first = parts[0]
    return FeatureCards(
        sparse=tuple(
            1 + max(_largest(part.sparse[:, feature]) for part in parts) for feature in range(first.sparse.shape[1])
        ),
        multi=tuple(1 + max(_largest(part.multi[feature]) for part in parts) for feature in range(len(first.multi))),
        dense=first.dense.shape[1] + extra_dense,
    )


def _graph_cards(graph: MacroGraph) -> GraphCards:
    side = graph.snapshots[0].user
    return GraphCards(
        graph.n_user_groups,
        graph.n_item_groups,
        means=0 if side.neighbour_mean is None else side.neighbour_mean.shape[1],
        task_edges=side.task_log_count is not None,
    )


def _largest(codes: npt.NDArray[np.int32]) -> int:
    return int(codes.max(initial=0))


def _given(schema: LogSchema) -> tuple[int | None, ...]:
    names = schema.task_names
    return tuple(None if task.given is None else names.index(task.given) for task in schema.tasks)


def _last(moments_S: Tensor, time_B: Tensor) -> Tensor:
    """Index of the last moment <= time, the first one where there is none, 0 where there are no moments."""
    return (torch.searchsorted(moments_S, time_B, right=True) - 1).clamp_(min=0)


def _stacked_macro(edges: list[MacroEdges], device: torch.device) -> Tensor:
    largest = max(edge.n_macro for edge in edges)
    compact: type[np.signedinteger] = np.int16 if largest <= np.iinfo(np.int16).max else np.int32
    return _stacked([edge.macro.astype(compact) for edge in edges], device)


def _stacked(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> Tensor:
    return _tensor(np.concatenate(arrays, axis=0), device)


def _tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A tensor that shares memory with `array` on CPU where it can: read-only arrays (memory maps) are copied."""
    whole = np.ascontiguousarray(array)
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy()).to(device)


def _long(table: Tensor, row_B: Tensor) -> Tensor:
    return table.index_select(0, row_B).long()


def _float(table: Tensor, row_B: Tensor) -> Tensor:
    return table.index_select(0, row_B).float()
