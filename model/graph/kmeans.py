"""Weighted K-means: k-means++ seeding, Lloyd steps, empty clusters re-seeded, cluster sizes capped.

Deterministic by seed; ties go to the smaller cluster. Legend: A points, K clusters, r dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.score_matrix import row_blocks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Nearest = Callable[[Int64, Float32], tuple[Int32, Float32]]
MAX_STEPS = 50


def fit_centroids(points_Ar: Float32, weight_A: Float64, n_clusters: int, seed: int) -> Float32:
    """Centroids [K, r]. With fewer distinct points than clusters the surplus clusters repeat a point and stay empty."""
    centroids = _seeding(points_Ar, weight_A, n_clusters, np.random.default_rng(seed))
    everyone = np.arange(len(points_Ar))
    label = np.full(len(points_Ar), -1, dtype=np.int32)
    for _ in range(MAX_STEPS):
        nearest, distance = assign(points_Ar, everyone, centroids)
        if np.array_equal(nearest, label):
            break
        label = nearest
        centroids = _means(points_Ar, weight_A, label, distance, centroids)
    return centroids


def assign(points: Float32, which: Int64, centroids: Float32) -> tuple[Int32, Float32]:
    """The nearest centroid (0..K-1) of points[which] and the squared distance to it, a block of rows at a time."""
    label = np.zeros(len(which), dtype=np.int32)
    distance = np.zeros(len(which), dtype=np.float32)
    square_K, twice_rK = np.einsum("kr,kr->k", centroids, centroids), -2 * centroids.T
    for rows in row_blocks(len(which)):
        block = np.asarray(points[which[rows]])
        gap = block @ twice_rK  # but for each point's own square, which moves no minimum
        gap += square_K
        nearest = gap.argmin(axis=1)
        label[rows] = nearest
        least = np.take_along_axis(gap, nearest[:, None], axis=1)[:, 0]
        distance[rows] = np.maximum(least + np.einsum("ar,ar->a", block, block), 0)
    return label, distance


def assign_capped(nearest_of: Nearest, which: Int64, centroids: Float32, cap: int) -> Int32:
    """The nearest centroid of the points `which`, at most `cap` a cluster: a full one keeps its nearest, the rest move
    on. nearest_of(which, centroids): label and squared distance of each. cap * K must not be under len(which).
    """
    label = np.full(len(which), -1, dtype=np.int32)
    room = np.full(len(centroids), cap)
    waiting = np.arange(len(which))
    while len(waiting):
        is_open = np.flatnonzero(room > 0)
        nearest, distance = nearest_of(which[waiting], centroids[is_open])
        wanted = is_open[nearest]
        settled = _settled(wanted, distance, room)
        label[waiting[settled]] = wanted[settled]
        room -= np.bincount(wanted[settled], minlength=len(centroids))
        waiting = waiting[~settled]
    return label


def _settled(wanted: Int64, distance: Float32, room: Int64) -> npt.NDArray[np.bool_]:
    """Which points find room: all where it suffices, else the nearest, earlier points first."""
    settled = np.ones(len(wanted), dtype=np.bool_)
    for cluster in np.flatnonzero(np.bincount(wanted, minlength=len(room)) > room):
        members = np.flatnonzero(wanted == cluster)
        settled[members[np.argsort(distance[members], kind="stable")[room[cluster] :]]] = False
    return settled


def _squared_distance(points: Float32, centroids: Float32) -> Float32:
    cross = points @ centroids.T
    gap = np.einsum("ar,ar->a", points, points)[:, None] - 2 * cross + np.einsum("kr,kr->k", centroids, centroids)
    return np.asarray(np.maximum(gap, 0), dtype=np.float32)


def _seeding(points: Float32, weight: Float64, n_clusters: int, rng: np.random.Generator) -> Float32:
    """k-means++: each next centroid is drawn by weight times squared distance to those before."""
    chosen = [_draw(weight, rng)]
    gap = _squared_distance(points, points[chosen])[:, 0]
    for _ in range(n_clusters - 1):
        mass = weight * gap
        chosen.append(_draw(mass if mass.sum() > 0 else weight, rng))
        gap = np.minimum(gap, _squared_distance(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _draw(mass: Float64, rng: np.random.Generator) -> int:
    reached = np.cumsum(mass)
    return int(min(np.searchsorted(reached, rng.random() * reached[-1], side="right"), len(mass) - 1))


def _means(points: Float32, weight: Float64, label: Int32, distance: Float32, before: Float32) -> Float32:
    """Weighted means; an empty cluster restarts at the point that is worst served, one point each."""
    n_clusters = len(before)
    total = np.bincount(label, weights=weight, minlength=n_clusters)
    members = sparse.csc_array((weight, label, np.arange(len(label) + 1)), shape=(n_clusters, len(label)))
    means: Float32 = (members @ points / np.where(total > 0, total, 1.0)[:, None]).astype(np.float32)
    empty = np.flatnonzero(total == 0)
    if len(empty) == 0:
        return means
    worst = np.argsort(-(distance * weight), kind="stable")[: len(empty)]
    far = worst[distance[worst] > 0]
    means[empty] = before[empty]
    means[empty[: len(far)]] = points[far]
    return means
