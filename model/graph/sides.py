"""Filling one side of every snapshot from its shards: first all that is one hop away, then the two-hop products.

Legend: S snapshots, n nodes of the side, R rows of a block, K macro nodes, k kept edges, T tasks, L recents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.graph.config import GraphConfig
from model.graph.edges import Kept, count_cells, keep_top, log_count, macro_dtype
from model.graph.inner_table import InnerTables, Ragged
from model.graph.macro_graph import Float16, MacroEdges, MacroIndex, Side
from model.graph.memory import Spending
from model.graph.neighbour_means import Averages, describe, mean_of_neighbours
from model.graph.pair_state import PairKeeper, PairState
from model.graph.partition import ShardSource, SideName, other_side
from model.graph.replay import Block, Step, cut_blocks, replay
from model.graph.score_matrix import row_blocks
from model.graph.tables import Degrees, dominant, recents, task_counts
from model.graph.threads import Crew, Threads

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What both sides share. group, n_groups: by side. score_of_mask: [2^T]. n_nodes includes row 0.

    keeper: takes the merged pairs as of the last snapshot. before: what the partitions hold as merged pairs. out: the
    artifact's folder, where arrays on disk are made at their place.
    """

    config: GraphConfig
    partitions: ShardSource
    as_of: tuple[int, ...]
    score_of_mask: Float64
    group: dict[SideName, Int32]
    n_groups: dict[SideName, int]
    spending: Spending
    keeper: PairKeeper | None = None
    before: PairState | None = None
    crew: Crew = field(default_factory=Threads)
    out: Path | None = None

    def zeros(self, side: SideName, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """One of a side's arrays of all snapshots."""
        return self.partitions.place.zeros(shape, dtype, self.out and self.out / side / f"{name}.npy")

    @property
    def n_tasks(self) -> int:
        return len(self.score_of_mask).bit_length() - 1

    @property
    def numbers(self) -> range:
        """Of the shards."""
        return range(self.partitions.shards)

    def blocks(self, side: SideName, number: int) -> Iterator[Block]:
        """Of one shard. The memory of mapped arrays goes back to the system after each."""
        shard = self.partitions.load(side, number)
        for block in cut_blocks(shard, self.as_of, self.spending.rows, self.spending.events):
            yield block
            self.partitions.place.release()


class EdgeArrays:
    """Top-k edges of all snapshots: macro [S, n, k] and log_count float16 [S, n, k]."""

    def __init__(self, plan: Plan, side: SideName, hop: str, shape: tuple[int, int]) -> None:
        self.n_macro = plan.n_groups[other_side(side) if hop == "hop1" else side]
        shape_k = (*shape, min(plan.config.top_k, self.n_macro))
        self.macro: MacroIndex = plan.zeros(side, f"{hop}.macro", shape_k, macro_dtype(self.n_macro))
        self.log_count: Float16 = plan.zeros(side, f"{hop}.log_count", shape_k, np.float16)

    def of(self, snapshot: int) -> MacroEdges:
        return MacroEdges(self.macro[snapshot], self.log_count[snapshot], self.n_macro)


class SideArrays:
    """One side of all snapshots, and the one-hop counts of each that the other side's second hop reads."""

    def __init__(self, plan: Plan, side: SideName) -> None:
        config, place = plan.config, plan.partitions.place
        n_nodes = plan.partitions.n_nodes[side]
        shape = (len(plan.as_of), n_nodes)
        across = plan.n_groups[other_side(side)]
        self.hop1, self.hop2 = (EdgeArrays(plan, side, hop, shape) for hop in ("hop1", "hop2"))
        most = min(n_nodes * min(config.two_hop_top_k, across), int(plan.partitions.most_events(side).sum()))
        self.inner = InnerTables(place, len(plan.as_of), n_nodes, across, most)
        self.dominant: Int32 = plan.zeros(side, "dominant", (*shape, plan.n_tasks), np.int32)
        self.recent: Int32 = plan.zeros(side, "recent", (*shape, config.recent), np.int32)
        self.recent_score: Float32 = plan.zeros(side, "recent_score", (*shape, config.recent), np.float32)
        self.log_degree: Float32 = plan.zeros(side, "log_degree", (*shape, plan.n_tasks), np.float32)
        self.log_exposure: Float32 = plan.zeros(side, "log_exposure", shape, np.float32)
        self.task_log_count: Float16 | None = None
        if config.task_edges:
            shape_kT = (*self.hop1.macro.shape, plan.n_tasks)
            self.task_log_count = plan.zeros(side, "task_log_count", shape_kT, np.float16)
        self.known: Int32 | None = None
        self.neighbour_mean: Float32 | None = None
        if config.neighbour_means:
            self.known = place.zeros((*shape, plan.n_tasks), np.int32)
            shape_M = (*shape, 2 * (plan.n_tasks + 1))
            self.neighbour_mean = plan.zeros(side, "neighbour_mean", shape_M, np.float32)

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

    def fill(number: int) -> list[list[Ragged]]:
        return [_fill_block(plan, side, arrays, block) for block in plan.blocks(side, number)]

    for blocks in plan.crew.in_order(fill, plan.numbers):
        for block in blocks:
            for snapshot, rows in enumerate(block):
                arrays.inner.append(snapshot, rows)


def _fill_block(plan: Plan, side: SideName, arrays: SideArrays, block: Block) -> list[Ragged]:
    """Writes the block's rows of every snapshot; what its inner tables keep of them, by snapshot."""
    degrees, rows, inner = degrees_of(plan, side, block), ChangingRows(plan, side, block), []
    for step in replay(block, plan.partitions.n_nodes[other_side(side)]):
        degrees.add(step)
        rows.renew(step)
        rows.write(arrays, step.snapshot)
        inner.append(Ragged.of(rows.kept, plan.config.two_hop_top_k))
        write_degrees(arrays, (step.snapshot, block.place), degrees)
    if plan.keeper is not None:
        plan.keeper.count(side, block.place, degrees.exposure_R, degrees.positive_RT)
    return inner


def degrees_of(plan: Plan, side: SideName, block: Block) -> Degrees:
    """The block's degrees before its first step."""
    before = plan.before.counts_of(side, block.place) if plan.before else None
    return Degrees(block, plan.n_tasks, before)


def write_degrees(arrays: SideArrays, at: tuple[int, slice], degrees: Degrees) -> None:
    """at: snapshot and the block's nodes."""
    arrays.log_degree[at] = np.log1p(degrees.positive_RT)
    arrays.log_exposure[at] = np.log1p(degrees.exposure_R)
    if arrays.known is not None:
        arrays.known[at] = degrees.known_RT


class ChangingRows:
    """What follows from a block's edges, by row; a step renews the rows that it touches."""

    def __init__(self, plan: Plan, side: SideName, block: Block) -> None:
        self._plan, self._block = plan, block
        self._group, self._n_macro = plan.group[other_side(side)], plan.n_groups[other_side(side)]
        self._now: list[npt.NDArray[Any]] = []

    @property
    def kept(self) -> Kept:
        """The rows' one-hop counts, as many as either hop reads."""
        return Kept(self._now[0], self._now[1])

    def renew(self, step: Step) -> None:
        renewed = self._of(step)
        if not self._now:
            self._now = renewed
        for now, new in zip(self._now, renewed, strict=True):
            now[step.rows] = new[step.rows]

    def _of(self, step: Step) -> list[npt.NDArray[Any]]:
        config, rows = self._plan.config, self._block.n_rows
        cells = count_cells(step.edges, self._group, self._plan.score_of_mask, rows, self._n_macro)
        kept = keep_top(cells, rows, self._n_macro, max(config.top_k, config.two_hop_top_k))
        recent = recents(self._block, step, config.recent, self._plan.score_of_mask)
        found = [kept.macro, kept.count, dominant(cells, rows, self._n_macro), *recent]
        if config.task_edges:
            found.append(task_counts(cells, kept.macro[:, : config.top_k], self._n_macro))
        return found

    def write(self, arrays: SideArrays, snapshot: int, rows: Int64 | None = None) -> None:
        """rows: of the block, ascending; all without them."""
        place, chosen = self._block.place, slice(None) if rows is None else rows
        at, k = (snapshot, place if rows is None else place.start + rows), arrays.hop1.macro.shape[2]
        now = [array[chosen] for array in self._now]
        arrays.hop1.macro[at] = now[0][:, :k]
        arrays.hop1.log_count[at] = log_count(now[1][:, :k])
        arrays.dominant[at], arrays.recent[at], arrays.recent_score[at] = now[2:5]
        if arrays.task_log_count is not None:
            arrays.task_log_count[at] = log_count(now[5])


def fill_neighbour_means(plan: Plan, side: SideName, arrays: SideArrays, across: SideArrays) -> None:
    """Means over a side's impressions and positives of what the other side's nodes are like, as of every snapshot."""
    if arrays.neighbour_mean is None or across.known is None:
        return
    described_SnC = _described(plan, across, across.known)
    for number in plan.numbers:
        for block in plan.blocks(side, number):
            for snapshot, described_nC in enumerate(described_SnC):
                means_RM = mean_of_neighbours(block, snapshot, described_nC, plan.score_of_mask)
                arrays.neighbour_mean[snapshot, block.place] = means_RM


def _described(plan: Plan, across: SideArrays, known: Int32) -> Float64:
    """What every node of a side is like at every snapshot, [S, n, C]; on disk where the build is."""
    place = plan.partitions.place
    described_SnC = place.zeros((*known.shape[:2], plan.n_tasks + 1), np.float64)
    for snapshot, described_nC in enumerate(described_SnC):
        columns = (across.log_degree[snapshot], known[snapshot], across.log_exposure[snapshot])
        averages = Averages.of(*columns)
        for rows in row_blocks(len(described_nC)):
            degree_RT, known_RT, exposure_R = (column[rows] for column in columns)
            described_nC[rows] = describe(averages, degree_RT, known_RT, exposure_R, first=rows.start == 0)
            place.release()
    return described_SnC
