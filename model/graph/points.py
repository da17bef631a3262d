"""The points that K-means sees, in memory or made again from a shard's edges each time that they are asked for.

Streamed points have whole-number coordinates so small that every sum in a distance is exact in float32: in whatever
pieces they come, the nearest centroid is the same. Legend: n nodes, r dimensions, K clusters, R rows of a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.kmeans import assign
from model.graph.partition import SideName, other_side
from model.graph.score_matrix import ScoreMatrix, ShardEdges, row_blocks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UNIT = 1900
"""Length of a streamed point: squared distances stay under 2^24, roundings of up to 32767 coordinates included."""


class Points(Protocol):
    """Features of a side's nodes. which: ascending node indices."""

    def rows(self, which: Int64) -> Float32:
        """Features [len(which), r]."""
        ...

    def assign(self, which: Int64, centroids: Float32) -> tuple[Int32, Float32]:
        """The nearest centroid (0..K-1) of each and the squared distance to it."""
        ...

    def as_centroids(self, fitted: Float32) -> Float32:
        """Centroids [K, r] in the points' own numbers."""
        ...


@dataclass(frozen=True)
class StoredPoints:
    """features: float32 [n, r]."""

    features: Float32

    def rows(self, which: Int64) -> Float32:
        return np.asarray(self.features[which])

    def assign(self, which: Int64, centroids: Float32) -> tuple[Int32, Float32]:
        return assign(self.features, which, centroids)

    def as_centroids(self, fitted: Float32) -> Float32:
        return fitted


@dataclass(frozen=True)
class StreamedPoints:
    """describe: rows of S (CSR float32 [a, n_other]) -> their features [a, r], each row from its own edges alone."""

    scores: ScoreMatrix
    side: SideName
    describe: Callable[[sparse.csr_array], Float32]

    def rows(self, which: Int64) -> Float32:
        def of_shard(part: tuple[ShardEdges, Int64]) -> Float32:
            shard, local = part
            return self._described(self._matrix(shard), local)

        return np.concatenate(list(self.scores.crew.in_order(of_shard, self._parts(which))))

    def assign(self, which: Int64, centroids: Float32) -> tuple[Int32, Float32]:
        def of_shard(part: tuple[ShardEdges, Int64]) -> tuple[Int32, Float32]:
            shard, local = part
            matrix = self._matrix(shard)
            label, distance = np.zeros(len(local), np.int32), np.zeros(len(local), np.float32)
            for block in row_blocks(len(local)):
                points = self._described(matrix, local[block])
                label[block], distance[block] = assign(points, np.arange(len(points)), centroids)
            return label, distance

        found = list(self.scores.crew.in_order(of_shard, self._parts(which)))
        return np.concatenate([label for label, _ in found]), np.concatenate([distance for _, distance in found])

    def _parts(self, which: Int64) -> Iterator[tuple[ShardEdges, Int64]]:
        """Every shard and its local rows among `which`."""
        return ((shard, _local(shard, which)) for shard in self.scores.shards[self.side])

    def as_centroids(self, fitted: Float32) -> Float32:
        return np.rint(fitted)

    def _matrix(self, shard: ShardEdges) -> sparse.csr_array:
        return shard.matrix(self.scores.n[other_side(self.side)], self.scores.score_of_mask.astype(np.float32))

    def _described(self, matrix: sparse.csr_array, local: Int64) -> Float32:
        return whole_units(self.describe(matrix[local]))


def _local(shard: ShardEdges, which: Int64) -> Int64:
    """Local rows of the nodes of `which` that are the shard's."""
    inside = slice(*np.searchsorted(which, (shard.rows.start, shard.rows.stop)))
    return np.asarray(which[inside] - shard.rows.start)


def whole_units(rows: Float32) -> Float32:
    """Rows scaled to length UNIT and rounded to whole numbers; rows of zeros stay zeros."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.rint(rows * (UNIT / np.where(length > 0, length, 1.0)).astype(np.float32))
