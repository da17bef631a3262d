"""The sample-ratio test: the paper's Bayes factor, valid at all looks, across weights and with returning users."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from serving.experiment.design import BASELINE, CANDIDATE
from serving.experiment.evidence import Exposed
from serving.experiment.sample_ratio import CONCENTRATIONS, log_bayes_factor, log_tilt_factor, running, sample_ratio


def _exposed(
    phase: int, weight: float, baseline: int, candidate: int, *, new: tuple[int, int] | None = None, place: int = 0
) -> Exposed:
    fresh = None if new is None else {BASELINE: new[0], CANDIDATE: new[1]}
    return Exposed(phase, place, weight, {BASELINE: baseline, CANDIDATE: candidate}, fresh)


def test_the_factor_is_that_of_the_units_one_by_one() -> None:
    rng = np.random.default_rng(0)
    weight = 0.3
    draws = rng.random(50) < 0.45
    factors = []
    for k in CONCENTRATIONS:
        a, b, log = k * weight, k * (1 - weight), 0.0
        for one in draws:
            predicted = a / (a + b)
            log += math.log(predicted / weight if one else (1 - predicted) / (1 - weight))
            a, b = a + one, b + (1 - one)
        factors.append(log)
    expected = special.logsumexp(factors) - math.log(len(factors))
    found = log_bayes_factor(int((~draws).sum()), int(draws.sum()), weight)
    assert found == pytest.approx(expected, rel=1e-9)


def test_watching_all_the_time_raises_a_false_alarm_at_most_as_often_as_said() -> None:
    rng = np.random.default_rng(1)
    candidate = np.cumsum(rng.binomial(50, 0.1, (2_000, 100)), axis=1)
    total = 50 * np.arange(1, 101)
    ever = (log_bayes_factor(total - candidate, candidate, 0.1) >= math.log(1 / 0.05)).any(axis=1).mean()
    naive = (stats.chi2.sf((candidate - 0.1 * total) ** 2 / (0.09 * total), 1) <= 0.05).any(axis=1).mean()
    assert ever <= 0.05
    assert naive > 0.15


def test_a_lost_percent_of_one_arm_is_found() -> None:
    assert sample_ratio([_exposed(0, 0.5, 500_000, 490_000)]).p_value < 1e-6
    assert sample_ratio([_exposed(0, 0.5, 500_000, 499_500)]).p_value > 0.1


def test_a_gross_error_is_found_early() -> None:
    assert sample_ratio([_exposed(0, 0.5, 600, 400)]).p_value < 1e-3


def test_slices_of_a_phase_are_one_and_phases_have_their_own_weights() -> None:
    found = sample_ratio(
        [_exposed(1, 0.5, 400, 390), _exposed(0, 0.1, 900, 100), _exposed(0, 0.1, 1_800, 200, place=1)]
    )
    assert [(one.phase, one.baseline, one.candidate) for one in found.phases] == [(0, 2_700, 300), (1, 400, 390)]
    assert found.p_value == 1


def test_a_phase_that_is_broken_is_found_through_all_its_units_though_none_is_new() -> None:
    good = _exposed(0, 0.5, 50_000, 50_000, new=(50_000, 50_000))
    broken = _exposed(1, 0.5, 45_000, 40_000, new=(0, 0))
    assert sample_ratio([good, broken]).p_value < 1e-3


def test_the_factor_over_phases_has_expectation_one_under_the_weights() -> None:
    weights, sizes = np.array([0.05, 0.2, 0.5]), np.array([3, 4, 2])
    expectation = 0.0
    for outcome in itertools.product(*(range(size + 1) for size in sizes)):
        candidate = np.array(outcome)
        probability = stats.binom.pmf(candidate, sizes, weights).prod()
        expectation += probability * math.exp(log_tilt_factor(sizes - candidate, candidate, weights))
    assert expectation == pytest.approx(1, rel=1e-9)


def test_new_units_of_several_phases_add_up() -> None:
    strata = [_exposed(phase, 0.5, 10_000, 9_700, new=(10_000, 9_700)) for phase in range(6)]
    together = sample_ratio(strata).p_value
    uncounted = sample_ratio([_exposed(phase, 0.5, 10_000, 9_700) for phase in range(6)]).p_value
    assert together < 1e-3 < uncounted


def test_returning_users_do_not_raise_false_alarms() -> None:
    """The same 2,000 users in eight phases at one weight: taken as new each time, chance would count eight times."""
    rng = np.random.default_rng(2)
    alarms, naive = 0, 0
    for _ in range(200):
        candidate = int(rng.binomial(2_000, 0.5))
        units = (2_000 - candidate, candidate)
        strata = [_exposed(phase, 0.5, *units, new=(0, 0) if phase else units) for phase in range(8)]
        alarms += sample_ratio(strata).p_value < 0.05
        naive += 8 * float(log_bayes_factor(2_000 - candidate, candidate, 0.5)) > math.log(20)
    assert alarms <= 0.05 * 200
    assert naive > alarms


@pytest.mark.parametrize(
    ("weight", "baseline", "candidate", "p_value"), [(0.0, 9, 0, 1.0), (0.0, 9, 1, 0.0), (1.0, 1, 5, 0.0)]
)
def test_a_unit_in_an_arm_of_weight_zero_cannot_be(
    weight: float, baseline: int, candidate: int, p_value: float
) -> None:
    assert sample_ratio([_exposed(0, weight, baseline, candidate)]).p_value == p_value


def test_without_units_there_is_no_alarm() -> None:
    assert sample_ratio([]).p_value == 1
    assert sample_ratio([]).phases == ()


def test_an_alarm_stays_over_the_looks() -> None:
    assert running([0.5, 0.0001, 0.3]) == [0.5, 0.0001, 0.0001]
