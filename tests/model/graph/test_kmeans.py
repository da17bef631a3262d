"""Weighted K-means."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from model.graph.kmeans import assign, assign_capped, fit_centroids


def blobs(seed: int, n: int, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % k
    return (np.eye(k)[label] + rng.normal(0, 0.02, (n, k))).astype(np.float32), label


def test_planted_clusters_are_found() -> None:
    points, planted = blobs(0, 400, 8)
    found, _ = assign(points, np.arange(400), fit_centroids(points, np.ones(400), 8, seed=1))
    pairs = {(int(a), int(b)) for a, b in zip(planted, found, strict=True)}
    assert len(pairs) == 8


def test_weights_pull_the_centroids() -> None:
    points = np.array([[0.0], [1.0]], dtype=np.float32)
    centroid = fit_centroids(points, np.array([3.0, 1.0]), 1, seed=0)
    assert centroid[0, 0] == np.float32(0.25)


def test_no_cluster_stays_empty_while_there_are_distinct_points_for_it() -> None:
    points = np.concatenate([np.zeros((50, 2)), [[5.0, 0], [0, 5], [5, 5]]]).astype(np.float32)
    for seed in range(10):
        label, _ = assign(points, np.arange(53), fit_centroids(points, np.ones(53), 4, seed))
        assert len(set(label.tolist())) == 4


def test_fewer_distinct_points_than_clusters_is_no_error() -> None:
    points = np.ones((5, 2), dtype=np.float32)
    label, distance = assign(points, np.arange(5), fit_centroids(points, np.ones(5), 3, seed=0))
    assert set(label.tolist()) == {0}
    assert not distance.any()


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 6))
def test_no_cluster_exceeds_its_cap_and_every_point_has_one(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    points, centroids = (rng.normal(size=(rows, 3)).astype(np.float32) for rows in (n, k))
    cap = -(-n // k)
    label = assign_capped(partial(assign, points), np.arange(n), centroids, cap)
    assert label.min() >= 0
    assert np.bincount(label).max() <= cap


def test_a_full_cluster_keeps_its_nearest_points() -> None:
    points = np.array([[0.0], [0.1], [0.2], [9.0]], dtype=np.float32)
    centroids = np.array([[0.0], [10.0]], dtype=np.float32)
    assert assign_capped(partial(assign, points), np.arange(4), centroids, 2).tolist() == [0, 0, 1, 1]


def test_an_ample_cap_changes_nothing() -> None:
    points, _ = blobs(3, 90, 5)
    centroids = fit_centroids(points, np.ones(90), 5, seed=0)
    which = np.arange(90)
    assert np.array_equal(
        assign_capped(partial(assign, points), which, centroids, 90), assign(points, which, centroids)[0]
    )
