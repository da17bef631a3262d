from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bundle.utility import expected_utility, weights_of
from model.errors import UserError

TASKS = ("click", "cart", "buy")


def test_utility_is_the_weighted_chance_of_what_happens() -> None:
    score = expected_utility(np.array([[0.5, 0.2]], np.float32), np.array([1.0, 10.0]), (None, None))
    assert score.tolist() == pytest.approx([0.5 + 2.0])
    assert score.dtype == np.float32


def test_a_conditional_task_happens_only_where_its_condition_does() -> None:
    probability = np.array([[0.5, 0.4, 0.5]], np.float32)
    score = expected_utility(probability, np.array([0.0, 0.0, 1.0]), (None, 0, 1))
    assert score.tolist() == pytest.approx([0.5 * 0.4 * 0.5])


@given(st.integers(1, 30), st.integers(0, 29), st.integers(0, 1000))
def test_a_candidate_scores_the_same_alone_and_in_any_batch(rows: int, place: int, seed: int) -> None:
    probability = np.random.default_rng(seed).random((rows, 3), dtype=np.float32)
    weight, given_tasks = np.array([1.0, 3.3, -0.7]), (None, 0, None)
    row = place % rows
    alone = expected_utility(probability[row : row + 1], weight, given_tasks)
    assert expected_utility(probability, weight, given_tasks)[row] == alone[0]


def test_every_task_weighs_one_unless_told_otherwise() -> None:
    assert weights_of(None, TASKS) == {"click": 1.0, "cart": 1.0, "buy": 1.0}
    assert weights_of({"buy": 5}, TASKS) == {"click": 0.0, "cart": 0.0, "buy": 5.0}


@pytest.mark.parametrize(
    ("utility", "said"),
    [
        ({"share": 1.0}, "names 'share', which is no task; tasks are: click, cart, buy"),
        ({"click": math.nan}, "utility of click is nan"),
        ({"click": math.inf}, "utility of click is inf"),
        ({"click": 0.0}, "orders nothing"),
        ({}, "orders nothing"),
    ],
)
def test_wrong_weights_are_refused_by_name(utility: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        weights_of(utility, TASKS)
