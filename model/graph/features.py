"""What nodes are grouped by: co-interaction without ever forming it, or the category histogram.

With S = P Sig Q^T the rows of P Sig^2 have the pairwise distances of the rows of S S^T (items: Q Sig^2 for S^T S).
Legend: m users, n items, r rank, l = r + oversampling.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.graph.partition import SideName
from model.graph.score_matrix import ScoreMatrix, row_blocks
from model.graph.scratch import Scratch

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
OVERSAMPLING = 10
POWER_ITERATIONS = 3


def co_interaction(scores: ScoreMatrix, rank: int, seed: int) -> dict[SideName, Float32]:
    """L2-normalised rows of P Sig^2 and Q Sig^2, by randomised subspace iteration (Halko et al. 2011), [n, <= r].

    Only products of S with thin matrices: memory is a few [n, l] arrays, on disk where the build is sharded.
    """
    width = min(rank + OVERSAMPLING, scores.n["user"], scores.n["item"])
    right = np.random.default_rng(seed).standard_normal((scores.n["item"], width))
    for _ in range(POWER_ITERATIONS):
        right = _orthonormal(scores.times("item", scores.times("user", right)), scores.place)
    image = scores.times("user", right)
    square, rotation = np.linalg.eigh(_gram(image))
    square, rotation = square[::-1][:rank].clip(min=0.0), rotation[:, ::-1][:, :rank]
    return {
        "user": _normalised(image, rotation * np.sqrt(square), scores.place),
        "item": _normalised(right, rotation * square, scores.place),
    }


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


def _gram(tall: Float64) -> Float64:
    gram = np.zeros((tall.shape[1], tall.shape[1]))
    for rows in row_blocks(len(tall)):
        block = np.asarray(tall[rows])
        gram += block.T @ block
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
    return basis


def _normalised(tall: Float64, turn: Float64, place: Scratch) -> Float32:
    """Rows of tall @ turn, scaled to length 1; rows of zeros stay zeros."""
    unit = place.zeros((len(tall), turn.shape[1]), np.float32)
    for rows in row_blocks(len(tall)):
        block = np.asarray(tall[rows]) @ turn
        length = np.linalg.norm(block, axis=1, keepdims=True)
        unit[rows] = block / np.where(length > 0, length, 1.0)
    return unit
