"""What a side keeps besides macro edges: macro task table, task counts, recents, degrees and exposures.

Legend: R rows of a block, r of them that a step touches, C cells, K macro nodes of the other side, T tasks, L recents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.graph.edges import Cells, rank_in_run
from model.graph.macro_graph import MacroIndex
from model.graph.merging import run_starts
from model.graph.replay import Block, Step

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def dominant(cells: Cells, n_rows: int, n_macro: int) -> Int32:
    """r of the macro task table, [R, T]: argmax_k of the plain A_t C, the smaller node first, 0 where empty."""
    by_task = _by_task(cells)
    found = np.zeros((n_rows, len(by_task)), dtype=np.int32)
    first = run_starts(cells.row)
    if len(first) == 0:
        return found
    bits = n_macro.bit_length()
    for task, count in enumerate(by_task):
        best = np.maximum.reduceat(count.astype(np.int64) << bits | (n_macro - cells.macro), first)
        found[cells.row[first], task] = np.where(best >> bits > 0, n_macro - (best & (2**bits - 1)), 0)
    return found


def task_counts(cells: Cells, macro_Rk: MacroIndex, n_macro: int) -> Float32:
    """The plain A_t C of every task at macro nodes [R, k]: [R, k, T], 0 at node 0."""
    by_task = _by_task(cells)
    counts = np.zeros((*macro_Rk.shape, len(by_task)), dtype=np.float32)
    row, place = np.nonzero(macro_Rk)
    at = np.searchsorted(cells.row * (n_macro + 1) + cells.macro, row * (n_macro + 1) + macro_Rk[row, place])
    counts[row, place] = by_task[:, at].T
    return counts


def _by_task(cells: Cells) -> Int32:
    if cells.by_task is None:
        raise RuntimeError("these cells hold no counts by task")
    return cells.by_task


def recents(block: Block, step: Step, length: int, score_of_mask: Float64) -> tuple[Int32, Float32]:
    """The last L distinct positives of every row: other nodes [R, L], newest first, 0 = padding, and their scores."""
    nodes = np.zeros((block.n_rows, length), dtype=np.int32)
    scores = np.zeros((block.n_rows, length), dtype=np.float32)
    if length == 0 or len(step.last) == 0:
        return nodes, scores
    end = len(block.own)
    bits = end.bit_length()
    key = step.edges.own.astype(np.int64) << bits | (end - step.last)
    key.sort()
    row = key >> bits
    rank = rank_in_run(row)
    top = np.flatnonzero(rank < length)
    newest = end - (key[top] & (2**bits - 1))
    mask_at = np.zeros(end, dtype=block.mask.dtype)
    mask_at[step.last] = step.edges.mask
    place = row[top] * length + rank[top]
    nodes.reshape(-1)[place] = block.other[newest]
    scores.reshape(-1)[place] = score_of_mask[mask_at[newest]]
    return nodes, scores


@dataclass(frozen=True)
class Counts:
    """What a side's nodes were counted to be: exposure: int64 [n], impressions. positive: int64 [n, T], by task."""

    exposure: Int64
    positive: Int64


class Degrees:
    """Running impressions [R], positives and known labels [R, T], repeated events included, unknown partners too.

    before: of the same rows, what was counted of impressions that the block holds as merged pairs alone.
    """

    def __init__(self, block: Block, n_tasks: int, before: Counts | None = None) -> None:
        self._block = block
        self.exposure_R = np.zeros(block.n_rows, dtype=np.int64)
        self.positive_RT = np.zeros((block.n_rows, n_tasks), dtype=np.int64)
        self.known_RT = np.zeros((block.n_rows, n_tasks), dtype=np.int64)
        if before is not None:
            self.exposure_R += before.exposure
            self.positive_RT += before.positive

    def add(self, step: Step) -> None:
        events = slice(max(step.events.start, self._block.merged), step.events.stop)
        own = self._block.own[events].astype(np.intp)
        rows = len(self.exposure_R)
        self.exposure_R += np.bincount(own, minlength=rows)
        for count_RT, masks in ((self.positive_RT, self._block.mask), (self.known_RT, self._block.known)):
            for task in range(count_RT.shape[1]):
                marked = (masks[events] >> np.uint32(task)) & 1
                count_RT[:, task] += np.bincount(own, weights=marked, minlength=rows).astype(np.int64)
