"""The macro graph that models read: arrays only, no I/O.

Legend: n nodes of a side (row 0 = cold), K macro nodes of the other or same side (index 0 = padding and cold),
k kept edges, T tasks, L recent neighbours, S snapshots. Node indices are those of `model.data.dataset.Nodes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.graph.config import GraphConfig

Int32 = npt.NDArray[np.int32]
Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
MacroIndex = npt.NDArray[np.int16] | npt.NDArray[np.int32]
"""int16 where the macro nodes fit, which halves the largest arrays."""


@dataclass(frozen=True)
class MacroEdges:
    """Top-k macro edges of every node, largest first.

    macro: int16 or int32 [n, k], macro node, 0 = padding. log_count: float16 [n, k], log1p of the S-weighted count,
    0 where padded. n_macro: K without group 0. Real macro nodes are 1..n_macro.
    """

    macro: MacroIndex
    log_count: Float16
    n_macro: int


@dataclass(frozen=True)
class Side:
    """All that the graph says of one side (users or items) at one moment.

    hop1: edges to macro nodes of the other side. hop2: to macro nodes of the same side (path back included).
    dominant: int32 [n, T], the macro task table's r (0 = empty). recent: int32 [n, L], node indices of the other side,
    distinct, newest first, 0 = padding. recent_score: float32 [n, L], their s. log_degree: float32 [n, T], log1p of
    positives per task (rows of the log). log_exposure: float32 [n], log1p of impressions. task_log_count: float16
    [n, k, T], only where GraphConfig.task_edges: log1p of P_t = A_t C, the distinct partners of each task in the macro
    nodes of hop1 (which are all that have any, unless top_k cuts), 0 where padded. neighbour_mean: float32
    [n, 2 (T + 1)], only where GraphConfig.neighbour_means: means over a node's impressions, then over its positives, of
    what the nodes at their other end are like (model.graph.neighbour_means).
    """

    hop1: MacroEdges
    hop2: MacroEdges
    dominant: Int32
    recent: Int32
    recent_score: Float32
    log_degree: Float32
    log_exposure: Float32
    task_log_count: Float16 | None = None
    neighbour_mean: Float32 | None = None


@dataclass(frozen=True)
class Snapshot:
    """The graph of all interactions strictly before `as_of` (unix seconds)."""

    as_of: int
    user: Side
    item: Side


@dataclass(frozen=True)
class MacroGraph:
    """user_group, item_group: int32 [n], 0 = cold. A row at time x reads the last snapshot with as_of <= x, else the
    first.

    trainable_from: unix seconds; a training row before it may find itself in what it reads (see model.graph.snapshots)
    and must not be trained on.
    """

    config: GraphConfig
    version: str
    tasks: tuple[str, ...]
    user_group: Int32
    item_group: Int32
    n_user_groups: int
    n_item_groups: int
    snapshots: tuple[Snapshot, ...]
    trainable_from: int = 0

    def snapshot_of(self, time: npt.NDArray[np.int64]) -> Int32:
        """Snapshot index [N] that rows at `time` [N] may read."""
        moments = np.array([s.as_of for s in self.snapshots], dtype=np.int64)
        return np.maximum(np.searchsorted(moments, time, side="right") - 1, 0).astype(np.int32)
