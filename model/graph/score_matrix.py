"""S before a moment, as sparse matrices by user shard and by item shard.

Legend: n nodes of a side, l columns of a thin matrix, R rows of one shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.merging import merge
from model.graph.partition import SIDES, Partitions, Shard, SideName, other_side
from model.graph.scratch import Scratch

Float64 = npt.NDArray[np.float64]
ROW_BLOCK = 8192
"""Rows of one dense step. Never a shard's: the same rows meet the same arithmetic for any number of shards."""


@dataclass(frozen=True)
class ShardMatrix:
    """Scores of one shard's merged edges. matrix: CSR [R, n_other]. rows: where the R rows lie among all nodes."""

    rows: slice
    matrix: sparse.csr_array


@dataclass(frozen=True)
class ScoreMatrix:
    """S by user shards and S^T by item shards, read again for every product. n: nodes of each side."""

    n: dict[SideName, int]
    shards: dict[SideName, list[ShardMatrix]]
    place: Scratch

    def times(self, side: SideName, right: Float64) -> Float64:
        """S right (`user`) or S^T right (`item`), [n[side], l]; every cell is summed over ascending neighbours."""
        product = self.place.zeros((self.n[side], right.shape[1]), np.float64)
        for shard in self.shards[side]:
            product[shard.rows] = shard.matrix @ right
        return product

    def degree(self, side: SideName) -> Float64:
        """deg_S, the summed scores of every node."""
        ones = np.ones((self.n[other_side(side)], 1))
        return np.array(self.times(side, ones)[:, 0])


def merged_scores(partitions: Partitions, score_of_mask: Float64, before: int) -> ScoreMatrix:
    """The merged pairs of everything strictly before a moment, once a side; kept on disk where the events are."""

    def matrix(side: SideName, number: int) -> ShardMatrix:
        shard = partitions.load(side, number)
        return _shard_matrix(shard, partitions.n_nodes[other_side(side)], score_of_mask, before, partitions.place)

    shards = {side: [matrix(side, number) for number in range(partitions.shards)] for side in SIDES}
    return ScoreMatrix(partitions.n_nodes, shards, partitions.place)


def _shard_matrix(shard: Shard, n_other: int, score_of_mask: Float64, before: int, place: Scratch) -> ShardMatrix:
    early = shard.time < before
    edges = merge(shard.own[early], shard.other[early], shard.mask[early], n_other)
    column, score = place.zeros((len(edges),), np.int32), place.zeros((len(edges),), np.float64)
    column[:], score[:] = edges.other, score_of_mask[edges.mask]
    indptr = np.searchsorted(edges.own, np.arange(shard.n_rows + 1)).astype(np.int32)
    return ShardMatrix(shard.rows, sparse.csr_array((score, column, indptr), shape=(shard.n_rows, n_other)))


def row_blocks(n: int) -> Iterator[slice]:
    """0..n in blocks of ROW_BLOCK rows, the last one shorter."""
    return (slice(start, min(start + ROW_BLOCK, n)) for start in range(0, n, ROW_BLOCK))
