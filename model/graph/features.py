"""What nodes are grouped by: co-interaction without ever forming it, or the category histogram.

With S = P Sig Q^T the rows of P Sig^2 have the pairwise distances of the rows of S S^T (items: Q Sig^2 for S^T S).
Legend: m users, n items, r rank, l = r + oversampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.data.mapped_pages import drop_pages
from model.graph.config import GraphConfig
from model.graph.partition import SideName
from model.graph.score_matrix import ScoreMatrix, row_blocks
from model.graph.scratch import Scratch

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
OVERSAMPLING = 10
POWER_ITERATIONS = 3


def co_interaction(scores: ScoreMatrix, rank: int, seed: int) -> dict[SideName, Float32]:
    """L2-normalised rows of P Sig^2 and Q Sig^2, by randomised subspace iteration (Halko et al. 2011), [n, <= r].

    Only products of S with thin matrices: memory is a few [n, l] arrays, on disk where the build is sharded.
    """
    found = _decompose(scores, rank, seed)
    return {
        "user": _normalised(found.image, found.rotation * np.sqrt(found.square), scores.place),
        "item": _normalised(found.right, found.rotation * found.square, scores.place),
    }


@dataclass(frozen=True)
class _Decomposition:
    """S ~ image rotation (right rotation)^T, image = S right. right: [n, l], orthonormal. square: Sig^2, [r].

    rotation: [l, r].
    """

    image: Float64
    right: Float64
    square: Float64
    rotation: Float64


class _Operator(Protocol):
    """S as a pair of products."""

    @property
    def n(self) -> dict[SideName, int]: ...

    @property
    def place(self) -> Scratch: ...

    def times(self, side: SideName, right: Float64) -> Float64: ...


@dataclass(frozen=True)
class _Sample:
    """A part of S in memory."""

    matrix: sparse.csr_array
    place: Scratch = field(default_factory=lambda: Scratch(None))

    @property
    def n(self) -> dict[SideName, int]:
        return {"user": self.matrix.shape[0], "item": self.matrix.shape[1]}

    def times(self, side: SideName, right: Float64) -> Float64:
        return np.asarray((self.matrix if side == "user" else self.matrix.T) @ right)


def _decompose(scores: _Operator, rank: int, seed: int) -> _Decomposition:
    width = min(rank + OVERSAMPLING, scores.n["user"], scores.n["item"])
    right = np.random.default_rng(seed).standard_normal((scores.n["item"], width))
    for _ in range(POWER_ITERATIONS):
        right = _orthonormal(scores.times("item", scores.times("user", right)), scores.place)
    image = scores.times("user", right)
    square, rotation = np.linalg.eigh(_gram(image))
    return _Decomposition(image, right, square[::-1][:rank].clip(min=0.0), rotation[:, ::-1][:, :rank])


@dataclass(frozen=True)
class FoldedBasis:
    """Q Sig of a sample of users on the items that they score most; rows of S Q Sig stand for rows of S S^T.

    place_of: int32 [n items], row of `basis`, the last one where the item is not among them. basis: float32 [i + 1, r],
    zeros at the end. Folding in is how latent semantic indexing adds documents (Berry, Dumais and O'Brien, 1995).
    """

    place_of: Int32
    basis: Float32

    def describe(self, rows: sparse.csr_array) -> Float32:
        """Folded-in features [a, r] of users' rows of S; a user without any of the items has zeros."""
        folded = sparse.csr_array(
            (rows.data, self.place_of[rows.indices], rows.indptr), shape=(rows.shape[0], len(self.basis))
        )
        return np.asarray(folded @ self.basis)


def fold(scores: ScoreMatrix, users: Int64, config: GraphConfig) -> FoldedBasis:
    """Decomposes S of sampled users [a], ascending, on their config.fold_items most scored items, in memory."""
    sample = scores.user_rows(users)
    degree = np.asarray(sample.sum(axis=0)).ravel()
    heaviest = np.lexsort((np.arange(len(degree)), -degree))[: config.fold_items]
    items = np.sort(heaviest[degree[heaviest] > 0])
    found = _decompose(_Sample(sparse.csr_array(sample[:, items])), config.svd_rank, config.seed)
    place_of = np.full(scores.n["item"], len(items), np.int32)
    place_of[items] = np.arange(len(items), dtype=np.int32)
    basis = np.zeros((len(items) + 1, found.rotation.shape[1]), np.float32)
    basis[:-1] = found.right @ (found.rotation * np.sqrt(found.square))
    return FoldedBasis(scores.place.shown(place_of), basis)


def category_histogram(
    scores: ScoreMatrix, category: npt.NDArray[np.int32], n_categories: int
) -> dict[SideName, Float32]:
    """L2-normalised rows of S C_cat for users (MacGNN's practice) and of S^T (S C_cat) for items."""
    one_hot = np.zeros((scores.n["item"], n_categories))
    known = np.flatnonzero(category)
    one_hot[known, category[known] - 1] = 1.0
    users = scores.times("user", one_hot)
    items = scores.times("item", users)
    identity = np.eye(n_categories)
    return {"user": _normalised(users, identity, scores.place), "item": _normalised(items, identity, scores.place)}


def group_histogram(group: Int32, n_groups: int) -> Callable[[sparse.csr_array], Float32]:
    """Describes rows of S^T by S^T C_U, [a, K]: an item by the groups of its users, as MacGNN does by categories."""

    def describe(rows: sparse.csr_array) -> Float32:
        shape = (rows.shape[0], n_groups + 1)
        counts = sparse.csr_array((rows.data, group[rows.indices], rows.indptr), shape=shape).toarray()
        return np.asarray(counts[:, 1:])

    return describe


def _gram(tall: Float64) -> Float64:
    gram = np.zeros((tall.shape[1], tall.shape[1]))
    for rows in row_blocks(len(tall)):
        block = np.asarray(tall[rows])
        gram += block.T @ block
        drop_pages(tall)
    return gram


def _orthonormal(tall: Float64, place: Scratch) -> Float64:
    """An orthonormal basis of the columns by way of their Gram matrix; directions lost in rounding are dropped.

    What is dropped weighs less than 1e-6 of the first direction, and features weigh directions by Sig^2 anyway.
    """
    square, rotation = np.linalg.eigh(_gram(tall))
    kept = square > square.max(initial=0.0) * 1e-12
    turn = rotation[:, kept] / np.sqrt(square[kept])
    basis = place.zeros((len(tall), turn.shape[1]), np.float64)
    for rows in row_blocks(len(tall)):
        basis[rows] = np.asarray(tall[rows]) @ turn
        place.release()
    return basis


def _normalised(tall: Float64, turn: Float64, place: Scratch) -> Float32:
    """Rows of tall @ turn, scaled to length 1; rows of zeros stay zeros."""
    unit = place.zeros((len(tall), turn.shape[1]), np.float32)
    for rows in row_blocks(len(tall)):
        block = np.asarray(tall[rows]) @ turn
        length = np.linalg.norm(block, axis=1, keepdims=True)
        unit[rows] = block / np.where(length > 0, length, 1.0)
        place.release()
    return unit
