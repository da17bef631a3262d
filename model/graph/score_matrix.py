"""S before a moment, as merged edges by user shard and by item shard; scores are looked up when a shard is read.

Legend: n nodes of a side, l columns of a thin matrix, R rows of one shard, E edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.merging import merge
from model.graph.partition import SIDES, Partitions, SideName, other_side
from model.graph.scratch import Scratch
from model.graph.threads import Crew

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
ROW_BLOCK = 8192
"""Rows of one dense step. Never a shard's: the same rows meet the same arithmetic for any number of shards."""


@dataclass(frozen=True)
class ShardEdges:
    """One shard's merged edges, by row. rows: where the R rows lie among all nodes. other: int32 [E].

    mask: [E], in the narrowest type. row_ends: int64 [R].
    """

    rows: slice
    other: npt.NDArray[np.int32]
    mask: npt.NDArray[Any]
    row_ends: Int64

    def matrix(self, n_other: int, score_of_mask: npt.NDArray[Any]) -> sparse.csr_array:
        """S of the shard, [R, n_other], in the type of the scores."""
        indptr = np.concatenate([[0], self.row_ends]).astype(np.int32 if len(self.other) < 2**31 else np.int64)
        return sparse.csr_array((score_of_mask[self.mask], self.other, indptr), shape=(len(self.row_ends), n_other))


@dataclass(frozen=True)
class ScoreMatrix:
    """S by user shards and S^T by item shards, read again for every product. n: nodes of each side."""

    n: dict[SideName, int]
    score_of_mask: Float64
    shards: dict[SideName, list[ShardEdges]]
    place: Scratch
    crew: Crew

    def times(self, side: SideName, right: Float64) -> Float64:
        """S right (`user`) or S^T right (`item`), [n[side], l]; every cell is summed over ascending neighbours."""
        product = self.place.zeros((self.n[side], right.shape[1]), np.float64)

        def fill(shard: ShardEdges) -> None:
            matrix, of_shard = shard.matrix(self.n[other_side(side)], self.score_of_mask), product[shard.rows]
            for rows in row_blocks(len(of_shard)):
                of_shard[rows] = matrix[rows] @ right
                self.place.release()

        for _ in self.crew.in_order(fill, self.shards[side]):
            pass
        return product

    def user_rows(self, users: Int64) -> sparse.csr_array:
        """Rows of S of some users [a], ascending, in memory: [a, n items]."""

        def of_shard(shard: ShardEdges) -> sparse.csr_array:
            inside = slice(*np.searchsorted(users, (shard.rows.start, shard.rows.stop)))
            return shard.matrix(self.n["item"], self.score_of_mask)[users[inside] - shard.rows.start]

        return sparse.csr_array(sparse.vstack(list(self.crew.in_order(of_shard, self.shards["user"]))))

    def degree(self, side: SideName) -> Float64:
        """deg_S, the summed scores of every node."""
        ones = np.ones((self.n[other_side(side)], 1))
        return np.array(self.times(side, ones)[:, 0])


def merged_scores(partitions: Partitions, score_of_mask: Float64, before: int, crew: Crew) -> ScoreMatrix:
    """The merged pairs of everything strictly before a moment, once a side; kept on disk where the events are."""
    n, n_masks = partitions.n_nodes, len(score_of_mask)
    shards = {side: _side_edges(partitions, side, n_masks, before, crew) for side in SIDES}
    return ScoreMatrix(n, score_of_mask, shards, partitions.place, crew)


def _side_edges(partitions: Partitions, side: SideName, n_masks: int, before: int, crew: Crew) -> list[ShardEdges]:
    place, numbers = partitions.place, range(partitions.shards)
    most = partitions.most_events(side)
    other = place.regions(np.int32, most)
    mask = place.regions(np.uint8 if n_masks <= 2**8 else np.uint16, most)
    row_ends = place.regions(np.int64, np.diff(partitions.starts[side]))

    def fill(number: int) -> slice:
        for regions in (other, mask, row_ends):
            regions.begin(number)
        shard = partitions.load(side, number)
        early = shard.time < before
        edges = merge(shard.own[early], shard.other[early], shard.mask[early], partitions.n_nodes[other_side(side)])
        other.append(number, edges.other)
        mask.append(number, edges.mask)
        row_ends.append(number, np.cumsum(np.bincount(edges.own, minlength=shard.n_rows)))
        return shard.rows

    rows = list(crew.in_order(fill, numbers))
    return [ShardEdges(rows[at], other.whole(at), mask.whole(at), row_ends.whole(at)) for at in numbers]


def row_blocks(n: int) -> Iterator[slice]:
    """0..n in blocks of ROW_BLOCK rows, the last one shorter."""
    return (slice(start, min(start + ROW_BLOCK, n)) for start in range(0, n, ROW_BLOCK))
