"""Filling one side of every snapshot from its shards: first all that is one hop away, then the two-hop products.

Legend: S snapshots, n nodes of the side, R rows of a block, K macro nodes, k kept edges, T tasks, L recents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.graph.config import GraphConfig
from model.graph.edges import Kept, TwoHop, keep_top, log_count, macro_dtype
from model.graph.macro_graph import Float16, MacroEdges, MacroIndex, Side
from model.graph.neighbour_means import describe, mean_of_neighbours
from model.graph.partition import Partitions, Scratch, SideName, other_side
from model.graph.replay import Block, Step, cut_blocks, replay
from model.graph.tables import Degrees, OneHop, Recents, rows_of

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What both sides share. group, n_groups: by side. score_of_mask: [2^T]. n_nodes includes row 0."""

    config: GraphConfig
    partitions: Partitions
    as_of: tuple[int, ...]
    score_of_mask: Float64
    group: dict[SideName, Int32]
    n_groups: dict[SideName, int]

    @property
    def n_tasks(self) -> int:
        return len(self.score_of_mask).bit_length() - 1

    @property
    def memory_bytes(self) -> int:
        return self.config.memory_mb * 2**20

    def max_rows(self, n_macro: int) -> int:
        """Rows whose dense running tables take a quarter of the memory."""
        cell_bytes = 16 + 4 * self.n_tasks * (2 if self.config.task_edges else 1)
        return max(1, self.memory_bytes // 4 // ((n_macro + 1) * cell_bytes))


class EdgeArrays:
    """Top-k edges of all snapshots: macro [S, n, k] and log_count float16 [S, n, k]."""

    def __init__(self, place: Scratch, shape: tuple[int, int], k: int, n_macro: int) -> None:
        self.n_macro = n_macro
        self.macro: MacroIndex = place.zeros((*shape, min(k, n_macro)), macro_dtype(n_macro))
        self.log_count: Float16 = place.zeros((*shape, min(k, n_macro)), np.float16)

    def of(self, snapshot: int) -> MacroEdges:
        return MacroEdges(self.macro[snapshot], self.log_count[snapshot], self.n_macro)


class SideArrays:
    """One side of all snapshots, and the one-hop counts [S, n, k] that the other side's second hop reads."""

    def __init__(self, plan: Plan, side: SideName) -> None:
        config, place = plan.config, plan.partitions.place
        shape = (len(plan.as_of), plan.partitions.n_nodes[side])
        across, own = plan.n_groups[other_side(side)], plan.n_groups[side]
        self.hop1 = EdgeArrays(place, shape, config.top_k, across)
        self.hop2 = EdgeArrays(place, shape, config.top_k, own)
        inner = (*shape, min(config.two_hop_top_k, across))
        self.inner_macro: MacroIndex = place.zeros(inner, macro_dtype(across))
        self.inner_count: Float32 = place.zeros(inner, np.float32)
        self.dominant: Int32 = place.zeros((*shape, plan.n_tasks), np.int32)
        self.recent: Int32 = place.zeros((*shape, config.recent), np.int32)
        self.recent_score: Float32 = place.zeros((*shape, config.recent), np.float32)
        self.log_degree: Float32 = place.zeros((*shape, plan.n_tasks), np.float32)
        self.log_exposure: Float32 = place.zeros(shape, np.float32)
        self.task_log_count: Float16 | None = None
        if config.task_edges:
            self.task_log_count = place.zeros((*self.hop1.macro.shape, plan.n_tasks), np.float16)
        self.known: Int32 | None = None
        self.neighbour_mean: Float32 | None = None
        if config.neighbour_means:
            self.known = place.zeros((*shape, plan.n_tasks), np.int32)
            self.neighbour_mean = place.zeros((*shape, 2 * (plan.n_tasks + 1)), np.float32)

    def inner(self, snapshot: int) -> Kept:
        return Kept(self.inner_macro[snapshot], self.inner_count[snapshot])

    def side(self, snapshot: int) -> Side:
        return Side(
            hop1=self.hop1.of(snapshot),
            hop2=self.hop2.of(snapshot),
            dominant=self.dominant[snapshot],
            recent=self.recent[snapshot],
            recent_score=self.recent_score[snapshot],
            log_degree=self.log_degree[snapshot],
            log_exposure=self.log_exposure[snapshot],
            task_log_count=None if self.task_log_count is None else self.task_log_count[snapshot],
            neighbour_mean=None if self.neighbour_mean is None else self.neighbour_mean[snapshot],
        )


def fill_one_hop(plan: Plan, side: SideName, arrays: SideArrays) -> None:
    """hop1, the table for the other side's second hop, dominant, recents, degrees and, where asked for, task counts."""
    across = other_side(side)
    for number in range(plan.partitions.shards):
        shard = plan.partitions.load(side, number)
        blocks = cut_blocks(shard, plan.partitions.n_nodes[across], plan.as_of, plan.max_rows(plan.n_groups[across]))
        for block in blocks:
            _fill_block(plan, arrays, block, plan.group[across], plan.n_groups[across])


def _fill_block(plan: Plan, arrays: SideArrays, block: Block, other_group: Int32, n_macro: int) -> None:
    hop = OneHop(block, other_group, n_macro, plan.n_tasks, plan.score_of_mask)
    recents, degrees = Recents(block, plan.config.recent), Degrees(block, plan.n_tasks)
    changing = _ChangingRows(plan, arrays, block)
    for step in replay(block):
        hop.add(step)
        recents.add(step)
        degrees.add(step)
        changing.write(step, hop, recents)
        at = (step.snapshot, block.place)
        arrays.log_degree[at] = np.log1p(degrees.positive_RT)
        arrays.log_exposure[at] = np.log1p(degrees.exposure_R)
        if arrays.known is not None:
            arrays.known[at] = degrees.known_RT


class _ChangingRows:
    """What rows hold now; a step renews the rows that it touches, the rest stand as in the snapshot before."""

    def __init__(self, plan: Plan, arrays: SideArrays, block: Block) -> None:
        self._plan, self._arrays, self._block = plan, arrays, block
        self._fields: list[npt.NDArray[Any]] = [
            arrays.hop1.macro,
            arrays.hop1.log_count,
            arrays.inner_macro,
            arrays.inner_count,
            arrays.dominant,
            arrays.recent,
            arrays.recent_score,
        ]
        if arrays.task_log_count is not None:
            self._fields.append(arrays.task_log_count)
        self._now = [np.zeros((block.n_rows, *field.shape[2:]), field.dtype) for field in self._fields]

    def write(self, step: Step, hop: OneHop, recents: Recents) -> None:
        rows = rows_of(self._block, step)
        config = self._plan.config
        kept = keep_top(hop.count_RK[rows], max(config.top_k, config.two_hop_top_k))
        k, inner = self._now[0].shape[1], self._now[2].shape[1]
        recent, edges = recents.of(rows, step)
        scores = np.where(edges >= 0, self._plan.score_of_mask[step.mask[edges]], 0.0) if len(step.mask) else 0.0
        renewed = [
            kept.macro[:, :k],
            log_count(kept.count[:, :k]),
            kept.macro[:, :inner],
            kept.count[:, :inner],
            hop.dominant(rows),
            recent,
            scores,
        ]
        if self._arrays.task_log_count is not None:
            renewed.append(log_count(hop.by_task(rows, kept.macro[:, :k])))
        for field, now, new in zip(self._fields, self._now, renewed, strict=True):
            now[rows] = new
            field[step.snapshot, self._block.place] = now


def fill_neighbour_means(plan: Plan, side: SideName, arrays: SideArrays, across: SideArrays) -> None:
    """Means over a side's impressions and positives of what the other side's nodes are like, as of every snapshot."""
    if arrays.neighbour_mean is None or across.known is None:
        return
    n_other = plan.partitions.n_nodes[other_side(side)]
    described = [
        describe(across.log_degree[number], across.known[number], across.log_exposure[number])
        for number in range(len(plan.as_of))
    ]
    for number in range(plan.partitions.shards):
        shard = plan.partitions.load(side, number)
        for block in cut_blocks(shard, n_other, plan.as_of, max(1, shard.n_rows)):
            for snapshot, described_nC in enumerate(described):
                means_RM = mean_of_neighbours(block, snapshot, described_nC, plan.score_of_mask)
                arrays.neighbour_mean[snapshot, block.place] = means_RM


def fill_two_hop(plan: Plan, side: SideName, arrays: SideArrays, across: SideArrays) -> None:
    """hop2 of a side: S times the other side's one-hop table, for every snapshot, streamed over the side's blocks."""
    n_other, n_macro = plan.partitions.n_nodes[other_side(side)], plan.n_groups[side]
    for number in range(plan.partitions.shards):
        shard = plan.partitions.load(side, number)
        for block in cut_blocks(shard, n_other, plan.as_of, plan.max_rows(n_macro)):
            hop = TwoHop(block.edge_own, block.edge_other, block.n_rows, n_macro, plan.memory_bytes // 4)
            for step in replay(block):
                count = hop.product(plan.score_of_mask[step.mask], across.inner(step.snapshot))
                kept = keep_top(count, plan.config.top_k)
                at = (step.snapshot, block.place)
                arrays.hop2.macro[at] = kept.macro
                arrays.hop2.log_count[at] = log_count(kept.count)
