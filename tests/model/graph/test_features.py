"""Features stand for S S^T without forming it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from model.graph.events import Events
from model.graph.features import category_histogram, co_interaction
from model.graph.partition import Cut, Loads, partition
from model.graph.score_matrix import ScoreMatrix, merged_scores
from model.graph.scratch import Scratch
from model.graph.threads import Threads
from tests.model.graph.rows import Rows

Float64 = npt.NDArray[np.float64]


def score_matrix(scores: npt.ArrayLike) -> ScoreMatrix:
    """Row and column 0 stand for the unknown nodes; scores are the masks themselves."""
    matrix = np.asarray(scores, dtype=np.float64)
    user, item = np.nonzero(matrix)
    events = Events(
        (user + 1).astype(np.int32),
        (item + 1).astype(np.int32),
        matrix[user, item].astype(np.uint32),
        np.zeros(len(user), np.int64),
        np.full(len(user), 7, np.uint32),
    )
    loads = Loads({"user": len(matrix) + 1, "item": matrix.shape[1] + 1})
    list(loads.counting([events]))
    parts = partition([Rows(events, 1)], loads, Cut(1, 1), n_tasks=3, place=Scratch(None), crew=Threads())
    return merged_scores(parts, np.arange(8.0), 1, Threads())


def unit(rows: npt.ArrayLike) -> Float64:
    values = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1))


def gaps(rows: npt.ArrayLike) -> Float64:
    values = np.asarray(rows, dtype=np.float64)
    return np.asarray(np.linalg.norm(values[:, None] - values[None], axis=2), dtype=np.float64)


def test_distances_are_those_of_normalised_co_interaction_rows() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 8, (23, 17)) * (rng.random((23, 17)) < 0.4).astype(np.float64)
    found = co_interaction(score_matrix(scores), rank=17, seed=3)
    np.testing.assert_allclose(gaps(found["user"][1:]), gaps(unit(scores @ scores.T)), atol=1e-5)
    np.testing.assert_allclose(gaps(found["item"][1:]), gaps(unit(scores.T @ scores)), atol=1e-5)


def test_a_low_rank_log_needs_no_more_than_its_rank() -> None:
    rng = np.random.default_rng(1)
    scores = np.kron(rng.integers(0, 2, (40, 3)), np.ones((1, 10)))  # rank 3
    found = co_interaction(score_matrix(scores), rank=4, seed=0)
    np.testing.assert_allclose(gaps(found["user"][1:]), gaps(unit(scores @ scores.T)), atol=1e-4)


def test_nodes_without_edges_have_rows_of_zeros() -> None:
    scores = np.zeros((4, 4))
    scores[0, 1] = scores[1, 1] = 3
    found = co_interaction(score_matrix(scores), rank=2, seed=0)
    assert np.all(found["user"][[0, 3, 4]] == 0)
    assert np.linalg.norm(found["user"][1]) == pytest.approx(1)


def test_an_empty_log_has_features_of_zeros() -> None:
    found = co_interaction(score_matrix(np.zeros((3, 3))), rank=2, seed=0)
    assert not found["user"].any()
    assert not found["item"].any()


def test_the_category_histogram_is_s_times_categories() -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 4, (6, 5)).astype(np.float64)
    category = np.array([0, 1, 2, 0, 2, 3], dtype=np.int32)
    one_hot = np.zeros((5, 3))
    for item, code in enumerate(category[1:]):
        if code:
            one_hot[item, code - 1] = 1
    found = category_histogram(score_matrix(scores), category, 3)
    np.testing.assert_allclose(found["user"][1:], unit(scores @ one_hot), atol=1e-6)
    np.testing.assert_allclose(found["item"][1:], unit(scores.T @ (scores @ one_hot)), atol=1e-6)
