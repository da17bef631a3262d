"""The confidence sequence: the paper's formula, its dual e-value, its optimum, and its conservative variance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics import literal
from serving.experiment import fixed_horizon, sequence
from serving.experiment.interval import Interval, ratio_interval
from serving.experiment.strata import Columns, Strata
from serving.experiment.stratified import Score, stratified_score

ALPHA = 0.05


def _score(**changes: object) -> Score:
    base = Score(
        level=np.array([100.0, 110.0]),
        weight=np.array(100.0),
        size=np.array(100.0),
        own=np.diag([2.0, 3.0]),
        common=np.diag([2.5, 2.5]),
        cross=np.zeros((2, 2)),
        freedom=np.array(300.0),
        coefficient=np.array(0.0),
        unadjusted=np.array(5.0),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@given(st.floats(1e-3, 1e4), st.floats(0.001, 0.4))
def test_an_e_value_reaches_one_over_alpha_where_the_interval_ends(clock: float, alpha: float) -> None:
    edge = sequence.multiplier(clock, alpha)
    assert sequence.e_value(edge, clock) == pytest.approx(1 / alpha, rel=1e-9)
    assert sequence.e_value(edge * 0.999, clock) < 1 / alpha < sequence.e_value(edge * 1.001, clock)


def test_an_e_value_has_expectation_one_without_an_effect() -> None:
    z = np.random.default_rng(0).normal(size=400_000)
    assert sequence.e_value(z, 0.5).mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
def test_the_interval_is_tightest_at_the_optimum(alpha: float) -> None:
    best = sequence.optimum(alpha)
    around = sequence.multiplier(best * np.array([0.9, 1.0, 1.1]), alpha)
    assert around[1] < min(around[0], around[2])


def test_without_a_unit_the_interval_is_unbounded() -> None:
    assert sequence.multiplier(0.0, ALPHA) == np.inf


def test_it_is_the_sequence_of_the_paper_written_literally() -> None:
    rng = np.random.default_rng(3)
    n, planned = 40_000, 30_000
    candidate = (rng.random(n) < 0.5).astype(float)
    value = rng.gamma(1.0, 2.0, n) + 0.02 * candidate
    for t in (2_000, 10_000, n):
        centre, radius = literal.sequence(literal.pseudo_outcomes(value[:t], candidate[:t], 0.5), planned, ALPHA)
        arms = [value[:t][candidate[:t] == arm] for arm in (0, 1)]
        strata = Strata(
            Columns(1),
            np.array([[len(arm) for arm in arms]], dtype=float),
            np.array([[[arm.mean()] for arm in arms]]),
            np.array([[[[arm.var() * len(arm)]] for arm in arms]]),
        )
        score = stratified_score(strata, strata.counted(2))
        variance = sequence.difference_variance(sequence.variance_of(score))
        bound = sequence.multiplier(sequence.clock(score, variance, planned, ALPHA), ALPHA)
        half = float(bound * np.sqrt(variance) / score.weight)
        assert float(fixed_horizon.effect(score)) == pytest.approx(centre, abs=0.05 * radius)
        assert half == pytest.approx(radius, rel=0.03)  # the paper rounds rho: 8.78 for 8.21


def test_of_each_arm_the_larger_variance_is_taken_and_shared_units_only_add() -> None:
    more = np.array([[1.0, -0.5], [-0.5, 1.0]])
    np.testing.assert_array_equal(sequence.variance_of(_score()), np.diag([2.5, 3.0]))
    np.testing.assert_array_equal(sequence.variance_of(_score(own=np.diag([2.5, 0.0]))), np.diag([2.5, 2.5]))
    assert sequence.difference_variance(sequence.variance_of(_score(cross=more))) == 8.5
    assert sequence.difference_variance(sequence.variance_of(_score(cross=-more))) == 5.5


def test_the_clock_is_at_its_optimum_at_the_planned_units() -> None:
    score = _score()
    assert sequence.clock(score, np.array(5.0), 400, ALPHA) == pytest.approx(sequence.optimum(ALPHA))
    planned = sequence.clock(score, np.array(5.0), 400, ALPHA, sd=float(np.sqrt(0.05 / 2)))
    assert planned == pytest.approx(2 * sequence.optimum(ALPHA))


def test_a_small_arm_without_events_does_not_make_an_interval_narrow() -> None:
    """In an arm of 200 none of 3 expected events came; its own variance is 0, that of both arms is not."""
    count = np.array([[19_800.0, 200.0]])
    mean = np.array([[[0.015], [0.0]]])
    m2 = (count * mean[..., 0] * (1 - mean[..., 0]))[..., None, None]
    strata = Strata(Columns(1), count, mean, m2)
    score = stratified_score(strata, strata.counted(2))
    own, taken = (sequence.difference_variance(one) for one in (score.own, sequence.variance_of(score)))
    assert taken > 50 * own


def test_a_ratio_interval_is_fiellers() -> None:
    level, covariance = np.array([10.0, 12.0]), np.array([[0.5, 0.1], [0.1, 0.8]])
    lower, upper = ratio_interval(level, covariance, 2.0)
    for ratio in (lower, upper):
        contrast = np.array([-ratio, 1.0])
        assert (contrast @ level) ** 2 == pytest.approx(4 * contrast @ covariance @ contrast)
    assert lower < 1.2 < upper


def test_a_baseline_that_is_not_told_from_zero_bounds_no_ratio() -> None:
    lower, upper = ratio_interval(np.array([1.0, 12.0]), np.diag([1.0, 1.0]), 2.0)
    assert lower == -np.inf
    assert upper == np.inf


def test_a_ratio_interval_covers_the_true_ratio() -> None:
    rng = np.random.default_rng(5)
    covariance = np.array([[4.0, 1.0], [1.0, 6.0]])
    level = rng.multivariate_normal([20.0, 22.0], covariance, 40_000)
    lower, upper = ratio_interval(level, np.broadcast_to(covariance, (40_000, 2, 2)), 1.959964)
    assert ((lower < 1.1) & (upper > 1.1)).mean() == pytest.approx(0.95, abs=0.005)


def test_a_flipped_interval_is_that_of_the_negated_number() -> None:
    assert Interval(-1.0, 3.0).flipped() == Interval(-3.0, 1.0)


def test_a_covariance_that_leaves_no_variance_is_left_out_of_one_look() -> None:
    gone = _score(cross=-np.diag([2.0, 3.0]))
    assert fixed_horizon.standard_error(gone) == pytest.approx(np.sqrt(5) / 100)
