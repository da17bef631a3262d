"""What a side keeps besides macro edges: macro task table, recents, degrees and exposures. Running sums over a block.

Legend: R rows, E merged edges, K macro nodes of the other side (column 0 = padding and cold), T tasks, L recents.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.graph.edges import cells
from model.graph.macro_graph import MacroIndex
from model.graph.replay import Block, Step

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def rows_of(block: Block, step: Step) -> Int64:
    """Rows whose edges the step changes."""
    touched = np.zeros(block.n_rows, dtype=np.bool_)
    touched[block.edge_own[step.touched]] = True
    return np.flatnonzero(touched)


class OneHop:
    """Running one-hop counts N_1 of a block and the macro task table that goes with them."""

    def __init__(self, block: Block, other_group: Int32, n_macro: int, n_tasks: int, score_of_mask: Float64) -> None:
        self._score = score_of_mask
        self._cell = cells(block.edge_own, other_group[block.edge_other], n_macro)
        self.count_RK = np.zeros((block.n_rows, n_macro + 1))
        self._count_TRK = np.zeros((n_tasks, block.n_rows, n_macro + 1), dtype=np.int32)

    def add(self, step: Step) -> None:
        now = step.mask[step.touched]
        cell = self._cell[step.touched]
        change = self._score[now] - self._score[step.before]
        _add_cells(self.count_RK, cell, change)
        gained = now & ~step.before
        for task, count_RK in enumerate(self._count_TRK):
            _add_cells(count_RK, cell[(gained >> np.uint32(task)) & 1 == 1])

    def dominant(self, rows: Int64) -> Int32:
        """r of the macro task table, [rows, T]: argmax_k of the plain A_t C, the smaller node first, 0 where empty."""
        count = self._count_TRK[:, rows, 1:]
        best = count.argmax(axis=2)
        filled = np.take_along_axis(count, best[..., None], axis=2)[..., 0] > 0
        return np.where(filled, best + 1, 0).astype(np.int32).T

    def by_task(self, rows: Int64, macro: MacroIndex) -> Float32:
        """The plain A_t C of every task at macro nodes [rows, k]: [rows, k, T], 0 at node 0."""
        count = self._count_TRK[:, rows[:, None], macro]
        return np.where(macro > 0, count, 0).transpose(1, 2, 0).astype(np.float32)


def _add_cells(
    table: npt.NDArray[np.float64] | npt.NDArray[np.int32], cell: Int64, weight: Float64 | None = None
) -> None:
    """table.flat[cell] += weight (or 1), repeated cells included; a few cells are added one by one, many by a count."""
    flat = table.reshape(-1)
    if len(cell) * 8 < len(flat):
        np.add.at(flat, cell, 1 if weight is None else weight)
    else:
        flat += np.bincount(cell, weights=weight, minlength=len(flat)).astype(flat.dtype, copy=False)


class Recents:
    """The last L distinct positives of every row."""

    def __init__(self, block: Block, length: int) -> None:
        self._block, self._length = block, length
        self._last = np.full(len(block.edge_own), -1, dtype=np.int64)

    def add(self, step: Step) -> None:
        edge = self._block.edge_of[step.events]
        positive = np.flatnonzero(edge >= 0)
        self._last[edge[positive]] = positive + step.events.start  # ascending: the newest event of an edge stays

    def of(self, rows: Int64, step: Step) -> tuple[Int32, Int64]:
        """Other nodes [rows, L], newest first, 0 = padding, and their edges [rows, L], -1 where padded."""
        block = self._block
        position = np.full(block.n_rows, -1, dtype=np.int64)
        position[rows] = np.arange(len(rows))
        edge = np.flatnonzero((position[block.edge_own] >= 0) & (step.mask != 0))
        row = position[block.edge_own[edge]]
        order = np.argsort(row * (len(block.own) + 1) - self._last[edge], kind="stable")
        edge, row = edge[order], row[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        kept = rank < self._length
        edges = np.full((len(rows), self._length), -1, dtype=np.int64)
        edges[row[kept], rank[kept]] = edge[kept]
        nodes = np.zeros((len(rows), self._length), dtype=np.int32)
        nodes[row[kept], rank[kept]] = block.edge_other[edge[kept]]
        return nodes, edges


class Degrees:
    """Running impressions [R], positives and known labels [R, T], repeated events included, unknown partners too."""

    def __init__(self, block: Block, n_tasks: int) -> None:
        self._block = block
        self.exposure_R = np.zeros(block.n_rows, dtype=np.int64)
        self.positive_RT = np.zeros((block.n_rows, n_tasks), dtype=np.int64)
        self.known_RT = np.zeros((block.n_rows, n_tasks), dtype=np.int64)

    def add(self, step: Step) -> None:
        own = self._block.own[step.events]
        rows = len(self.exposure_R)
        self.exposure_R += np.bincount(own, minlength=rows)
        for count_RT, events in ((self.positive_RT, self._block.mask), (self.known_RT, self._block.known)):
            for task in range(count_RT.shape[1]):
                marked = (events[step.events] >> np.uint32(task)) & 1 == 1
                count_RT[:, task] += np.bincount(own[marked], minlength=rows)
