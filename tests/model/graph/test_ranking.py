"""Eq. (6) and its rank tables."""

from __future__ import annotations

import math
from itertools import product
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from model.graph.ranking import FIXED_POINT, Rank, box_cox, mask_of, rank_table, score_table, summable

C, F, B = 1, 2, 4  # bits of click, favour, buy
LEVELS = (1, 2, 3)
MODES: tuple[Rank, ...] = get_args(Rank)


def test_additive_and_binary_ranks_are_those_of_the_published_table() -> None:
    masks = [0, C, F, C | F, B, C | B, F | B, C | F | B]
    assert rank_table(LEVELS, "additive")[masks].tolist() == [0, 1, 2, 3, 3, 4, 5, 6]
    assert rank_table(LEVELS, "binary")[masks].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_union_forgets_the_order_of_tasks() -> None:
    assert rank_table(LEVELS, "union").tolist() == [0] + [1] * 7


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_tied_tasks_are_digits_of_a_mixed_radix(levels: list[int]) -> None:
    found = rank_table(levels, "binary")
    distinct = sorted(set(levels))
    for mask, present in enumerate(product((0, 1), repeat=len(levels))):
        expected, radix = 0, 1
        bits = present[::-1]  # product counts from the left, masks from the right
        for level in distinct:
            expected += radix * sum(bit for bit, own in zip(bits, levels, strict=True) if own == level)
            radix *= levels.count(level) + 1
        assert found[mask] == expected


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_binary_mode_is_a_power_of_two_without_ties_and_strong_tasks_beat_all_weaker_ones(levels: list[int]) -> None:
    found = rank_table(levels, "binary")
    top = max(levels)
    weaker = sum(1 << t for t, level in enumerate(levels) if level < top)
    strongest = 1 << levels.index(top)
    assert found[strongest] > found[weaker]


@pytest.mark.parametrize("rank", MODES)
@pytest.mark.parametrize("beta", [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
def test_every_mask_scores_as_equation_6_says(rank: Rank, beta: float) -> None:
    rho = rank_table((1, 2, 3, 4), rank)
    literal = [((r + 1) ** beta - 1) / beta if beta else math.log(r + 1) for r in rho.tolist()]
    np.testing.assert_allclose(score_table((1, 2, 3, 4), rank, beta), literal, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.0, (0.693, 1.099, 1.386, 1.792, 1.946)),
        (0.5, (0.828, 1.464, 2.000, 2.899, 3.292)),
        (-1.0, (0.500, 0.667, 0.750, 0.833, 0.857)),
    ],
)
def test_additive_scores_are_the_known_check_values(beta: float, expected: tuple[float, ...]) -> None:
    scores = score_table(LEVELS, "additive", beta)[[C, F, B, F | B, C | F | B]]
    np.testing.assert_allclose(scores, expected, atol=5e-4)


@given(st.floats(-1e-6, 1e-6), st.integers(0, 10_000))
def test_the_score_is_continuous_where_beta_goes_to_zero(beta: float, rho: int) -> None:
    near, at = box_cox(np.array([rho]), beta), box_cox(np.array([rho]), 0.0)
    assert abs(near[0] - at[0]) <= abs(beta) * math.log(rho + 1) ** 2 + 1e-14


@given(st.floats(-2, 2), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_a_score_never_falls_when_a_task_is_added_and_nothing_scores_zero(beta: float, levels: list[int]) -> None:
    scores = score_table(levels, "additive", beta)
    assert scores[0] == 0.0
    for mask in range(len(scores)):
        for task in range(len(levels)):
            assert scores[mask | 1 << task] >= scores[mask]


def test_beta_one_gives_whole_numbers() -> None:
    assert score_table(LEVELS, "binary", 1.0).tolist() == list(range(8))


@given(st.lists(st.floats(0, 100), min_size=2, max_size=50))
def test_rounded_scores_add_to_the_same_sum_in_any_order(scores: list[float]) -> None:
    grains = summable(np.array(scores))
    assert np.abs(grains - scores).max() <= FIXED_POINT / 2
    other = grains.copy()
    np.random.default_rng(0).shuffle(other)
    assert sum(grains.tolist()) == sum(other.tolist()) == math.fsum(grains)


def test_an_unobserved_label_sets_no_bit() -> None:
    labels = np.array([[1, 1], [1, 0]], dtype=np.uint8)
    observed = np.array([[True, False], [True, True]])
    assert mask_of(labels, observed).tolist() == [1, 1]


def test_too_many_tasks_and_an_overflowing_beta_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="1 to 16 tasks, not 17"):
        rank_table(range(1, 18), "additive")
    with pytest.raises(UserError, match="beta=900"):
        score_table(LEVELS, "additive", 900.0)
