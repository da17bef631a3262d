"""Eq. (8): who is active, who is grouped, who is cold."""

from __future__ import annotations

import numpy as np

from model.graph.churn import churn
from model.graph.config import GraphConfig
from model.graph.grouping import group_nodes, group_sizes, theta_of
from model.graph.points import StoredPoints

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 4)).astype(np.float32)
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)


def test_nodes_without_edges_are_cold_and_all_others_have_a_group() -> None:
    degree = np.where(np.arange(300) % 7 == 0, 0.0, 1.0 + np.arange(300))
    group = group_nodes(StoredPoints(POINTS), degree, 5, GraphConfig())
    assert np.array_equal(group == 0, degree == 0)
    assert set(group.tolist()) == set(range(6))


def test_inactive_nodes_do_not_move_the_centroids_but_are_assigned() -> None:
    points = np.array([[0.0, 0], [0, 1], [0.2, 0], [0, 0.8], [0.4, 0.4]], dtype=np.float32)
    degree = np.array([0.0, 9, 9, 9, 1])
    moved = points.copy()
    moved[4] = (0.1, 0.7)
    config = GraphConfig(theta_quantile=0.25, max_group_fraction=1)
    before, after = (group_nodes(StoredPoints(p), degree, 2, config) for p in (points, moved))
    assert np.array_equal(before[:4], after[:4])
    assert after[4] == after[3]


def test_a_log_without_edges_is_all_cold() -> None:
    assert not group_nodes(StoredPoints(POINTS), np.zeros(300), 5, GraphConfig()).any()


def test_theta_is_the_quantile_over_nodes_that_have_edges() -> None:
    assert theta_of(np.array([0.0, 0, 0, 1, 2, 3, 4, 5]), 0.25) == 2.0


def test_groups_stay_under_the_cap() -> None:
    points = np.repeat(POINTS[:2], 150, axis=0)
    group = group_nodes(StoredPoints(points), np.ones(300), 10, GraphConfig(max_group_fraction=0.15))
    assert group_sizes(group, 10)[1:].max() <= 45


def test_centroids_fitted_on_a_sample_are_deterministic_by_seed() -> None:
    first, again = (group_nodes(StoredPoints(POINTS), np.ones(300), 5, GraphConfig(fit_sample=50)) for _ in range(2))
    assert np.array_equal(first, again)


def test_churn_does_not_see_renumbered_groups_and_counts_those_that_moved() -> None:
    before = np.array([0, 1, 1, 2, 2, 3, 3, 0], dtype=np.int32)
    now = np.array([0, 3, 3, 1, 1, 2, 1, 2], dtype=np.int32)
    found = churn(before, now)
    assert (found.compared, found.match) == (6, {1: 3, 2: 1, 3: 2})
    assert abs(found.moved - 1 / 6) < 1e-12
    assert churn(before, before).moved == 0.0
