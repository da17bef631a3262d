"""The sample-ratio test: the paper's Bayes factor, valid at all looks, across weights and with returning users."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from serving.experiment.design import BASELINE, CANDIDATE
from serving.experiment.evidence import Exposed
from serving.experiment.returns import PhaseReturns, Returns, returns
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
        [_exposed(1, 0.5, 400, 390, new=(200, 195)), _exposed(0, 0.1, 900, 100), _exposed(0, 0.1, 1_800, 200, place=1)]
    )
    assert [(one.phase, one.baseline, one.candidate) for one in found.phases] == [(0, 2_700, 300), (1, 200, 195)]
    assert found.p_value == 1


def test_users_that_one_arm_brings_back_are_an_effect_and_no_alarm() -> None:
    first = _exposed(0, 0.5, 500_000, 500_000, new=(500_000, 500_000))
    more = _exposed(1, 0.5, 310_000, 316_000, new=(10_000, 10_000))
    assert sample_ratio([first, more]).p_value == 1
    found = returns([first, more])
    assert found.lift == pytest.approx(0.02)
    assert found.p_value < 1e-6
    assert found.phases == (PhaseReturns(1, 0.5, 300_000, 306_000, number=2, p_value=found.phases[0].p_value),)


def test_units_of_an_earlier_run_return_in_the_first_phase_of_the_next() -> None:
    strata = [_exposed(3, 0.5, 300_900, 306_900, new=(900, 900))]
    assert sample_ratio(strata).p_value == 1
    found = returns(strata).phases
    assert found == (PhaseReturns(3, 0.5, 300_000, 306_000, number=1, p_value=found[0].p_value),)
    assert returns(strata).p_value < 1e-6


def test_return_is_compared_within_phases_of_their_own_weights() -> None:
    strata = [
        _exposed(0, 0.1, 90_000, 10_000, new=(90_000, 10_000)),
        _exposed(1, 0.2, 40_000, 10_000, new=(0, 0)),
        _exposed(2, 0.5, 25_000, 25_000, new=(0, 0)),
    ]
    found = returns(strata)
    assert found.lift == pytest.approx(0.0)
    assert found.p_value == 1


def test_chance_makes_return_look_like_an_effect_at_most_as_often_as_said() -> None:
    """The same 4,000 users, half of whom come back in each of five phases, looked at after each."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(400):
        place = rng.random(4_000)
        strata, ever = [], False
        for phase, weight in enumerate((0.1, 0.2, 0.3, 0.4, 0.5)):
            here = place[rng.random(4_000) < 0.5] if phase else place
            units = int((here >= weight).sum()), int((here < weight).sum())
            strata.append(_exposed(phase, weight, *units, new=(0, 0) if phase else units))
            ever |= returns(strata).p_value < 0.05
        alarms += ever
    assert alarms <= 0.05 * 400


def _coming(*slices: tuple[int, int]) -> list[Exposed]:
    """A phase of 50 % to whose slices so many units return."""
    return [_exposed(1, 0.5, *units, new=(0, 0), place=place) for place, units in enumerate(slices)]


def test_what_a_slice_has_proven_of_return_later_slices_do_not_take_back() -> None:
    proven = [(30_000, 32_000)]
    taken_back = [*proven, (32_000, 30_000)]
    assert returns(_coming(*taken_back)).lift == pytest.approx(0)
    assert returns(_coming(*taken_back)).p_value == returns(_coming(*proven)).p_value < 1e-6
    assert returns(_coming((62_000, 62_000))).p_value == 1


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=8), st.randoms())
def test_the_p_value_of_return_never_rises_with_time_and_takes_slices_in_their_order(
    slices: list[tuple[int, int]], random: Random
) -> None:
    looks = [returns(_coming(*slices[:end])).p_value for end in range(1, len(slices) + 1)]
    assert looks == running(looks)
    shuffled = _coming(*slices)
    random.shuffle(shuffled)
    assert returns(shuffled).p_value == looks[-1]


def test_watching_return_within_a_phase_raises_a_false_alarm_at_most_as_often_as_said() -> None:
    """Sixty looks at units that come back one time slice after the other, whatever their arm."""
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(400):
        candidate = rng.binomial(20, 0.3, 60)
        slices = [_exposed(0, 0.3, 20 - int(one), int(one), new=(0, 0), place=at) for at, one in enumerate(candidate)]
        alarms += returns(slices).p_value < 0.05
    assert alarms <= 0.05 * 400


def test_without_returning_users_return_says_nothing() -> None:
    assert returns([]) == Returns(None, 1.0, ())
    assert returns([_exposed(0, 0.5, 9, 9, new=(9, 9)), _exposed(1, 0.5, 9, 9)]) == Returns(None, 1.0, ())


def test_of_units_not_counted_as_new_only_the_first_phase_is_tested() -> None:
    found = sample_ratio([_exposed(0, 0.5, 900, 900), _exposed(1, 0.5, 500, 900)])
    assert [one.phase for one in found.phases] == [0]
    assert found.p_value == 1


def test_the_level_is_split_from_the_start() -> None:
    """A p-value does not change by the coming of a phase that has no unit yet: the running minimum spends one level."""
    one = _exposed(0, 0.5, 5_000, 5_200, new=(5_000, 5_200))
    two = _exposed(1, 0.2, 0, 0, new=(0, 0))
    assert sample_ratio([one, two]).p_value == pytest.approx(sample_ratio([one]).p_value, rel=1e-12)


def test_watched_over_a_ramp_it_alarms_at_most_as_often_as_said() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        strata: list[Exposed] = []
        ever = False
        for phase, weight in enumerate((0.05, 0.1, 0.25, 0.5)):
            for place in range(2):
                candidate = int(rng.binomial(300, weight))
                units = (300 - candidate, candidate)
                strata.append(_exposed(phase, weight, *units, new=units, place=place))
                ever |= sample_ratio(strata).p_value < 0.05
        alarms += ever
    assert alarms <= 0.05 * 200


def test_billions_of_units_are_no_trouble() -> None:
    good = [_exposed(phase, 0.5, 10**12, 10**12, new=(10**12, 10**12)) for phase in range(2)]
    assert sample_ratio(good).p_value == 1
    bad = [_exposed(phase, 0.5, 10**12, 2 * 10**12, new=(10**12, 2 * 10**12)) for phase in range(2)]
    assert sample_ratio(bad).p_value == 0


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
