"""Power, size and duration: equal to tea-tasting for one look, to simulation for the sequence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tea_tasting as tt  # type: ignore[import-untyped]
from tea_tasting.aggr import Aggregates  # type: ignore[import-untyped]

from serving.experiment import sequence
from serving.experiment.crossing import bound, crossing_probability
from serving.experiment.document import ExperimentError
from serving.experiment.evidence import Exposed
from serving.experiment.forecast import Standing, days_until_known, power_left, rate_a_day
from serving.experiment.planning import (
    Phase,
    duration,
    plan,
    power_fixed,
    power_sequence,
    size_sequence,
    units_fixed,
)

ALPHA = 0.05


def _tea(parameter: str, ratio: float, **given: float) -> float:
    metric = tt.Mean("value", alpha=ALPHA, ratio=ratio, **given)
    data = Aggregates(count_=4_000, mean_={"value": 2.0}, var_={"value": 9.0}, cov_={})
    return float(getattr(metric.solve_power_from_aggregates(data, parameter)[0], parameter))


def test_power_of_one_look_agrees_with_tea_tasting() -> None:
    found = power_fixed(0.3, 3.0, 4_000, 0.2, ALPHA)
    assert found == pytest.approx(_tea("power", 0.25, effect_size=0.3, n_obs=4_000), rel=1e-9)


def test_units_of_one_look_agree_with_tea_tasting() -> None:
    found = units_fixed(0.3, 3.0, 0.8, 0.5, ALPHA)
    assert math.ceil(found) == _tea("n_obs", 1.0, effect_size=0.3, power=0.8)
    assert power_fixed(0.3, 3.0, found, 0.5, ALPHA) == pytest.approx(0.8, rel=1e-9)


def test_an_effect_that_cannot_be_missed_needs_the_fewest_units() -> None:
    assert units_fixed(1e4, 1.0, 0.8, 0.5, ALPHA) == 6


def _simulated(drift: float, end: float, looks: int, runs: int = 40_000) -> float:
    rng = np.random.default_rng(0)
    times = np.linspace(0, end, looks + 1)[1:]
    paths = np.cumsum(rng.normal(drift * end / looks, math.sqrt(end / looks), (runs, looks)), axis=1)
    return float((np.abs(paths) >= bound(times, ALPHA)).any(axis=1).mean())


@pytest.mark.parametrize(("drift", "end", "looks"), [(0.0, 50.0, 40), (1.0, 8.0, 40), (0.3, 60.0, 10), (2.0, 0.5, 20)])
def test_the_chance_to_cross_is_that_of_simulated_paths(drift: float, end: float, looks: int) -> None:
    found = crossing_probability(drift, end, ALPHA, looks=looks)
    assert found == pytest.approx(_simulated(drift, end, looks), abs=0.012)


def test_without_an_effect_the_bound_is_crossed_at_most_as_often_as_said() -> None:
    assert crossing_probability(0.0, 1e4, ALPHA, looks=80) <= ALPHA


def test_a_score_beyond_its_bound_has_crossed_and_the_past_is_past() -> None:
    assert crossing_probability(0.0, 9.0, ALPHA, start=(8.0, 50.0)) == 1
    assert crossing_probability(5.0, 8.0, ALPHA, start=(8.0, 1.0)) == 0


def test_an_enormous_drift_crosses_at_once() -> None:
    assert crossing_probability(1e4, 8.0, ALPHA) == pytest.approx(1)


def test_size_and_power_of_the_sequence_are_each_others_inverse() -> None:
    size = size_sequence(0.1, 1.5, 0.8, ALPHA)
    assert power_sequence(0.1, 1.5, size, 4 * size, ALPHA) == pytest.approx(0.8, abs=1e-6)
    assert power_sequence(0.1, 1.5, size / 2, 4 * size, ALPHA) < 0.6


def test_being_allowed_to_look_costs_about_seven_tenths_more_units() -> None:
    found = plan(baseline=0.1, sd=0.3, lift=0.05, alpha=ALPHA, power=0.8, phases=[Phase(0.5, 0)])
    assert 1.5 < found.units / found.units_fixed < 1.9
    assert (found.days, found.days_fixed) == (None, None)
    assert found.planned_units == pytest.approx(found.units, rel=1e-3)


def test_a_duration_adds_up_the_ramp_and_the_maturity() -> None:
    ramp = [Phase(0.1, 2), Phase(0.5, 9)]
    assert duration(90 * 1.0, 1_000, ramp) == 1.0
    assert duration(180 + 500, 1_000, ramp) == 4.0
    assert duration(180 + 500, 1_000, ramp, maturity_s=86_400.0) == 5.0
    assert duration(1.0, 1_000, [Phase(0.0, 5)]) == math.inf


def test_a_ramp_takes_longer_than_an_even_split_from_the_start() -> None:
    def days(*phases: Phase) -> float:
        found = plan(
            baseline=0.1, sd=0.3, lift=0.02, alpha=ALPHA, power=0.8, phases=phases, units_a_day=40_000, maturity_s=0.0
        )
        assert found.days is not None
        assert found.days_fixed is not None
        assert found.days_fixed < found.days
        return found.days

    assert days(Phase(0.5, 0)) < days(Phase(0.05, 3), Phase(0.5, 0)) < days(Phase(0.05, 0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sd": 0.0}, "the deviation 0.0"),
        ({"lift": -0.1}, "the effect -0.1"),
        ({"baseline": math.nan}, "mean nan"),
        ({"phases": []}, "needs phases"),
        ({"phases": [Phase(0.0, 1)]}, "needs phases"),
        ({"phases": [Phase(1.0, 1), Phase(0.5, 1)]}, "needs phases"),
        ({"phases": [Phase(0.1, math.nan), Phase(0.5, 1)]}, "a phase of nan days"),
        ({"phases": [Phase(0.1, -1), Phase(0.5, 1)]}, "a phase of -1 days"),
        ({"units_a_day": math.nan}, "nan units a day"),
        ({"maturity_s": math.nan}, "a maturity of nan s"),
        ({"alpha": math.nan}, "the level nan"),
        ({"power": math.nan}, "the power nan"),
        ({"sd": 1e9}, "an effect of 2e-12 deviations"),
    ],
)
def test_what_cannot_be_planned_is_said(changes: dict[str, object], said: str) -> None:
    given = {"baseline": 0.1, "sd": 0.3, "lift": 0.02, "alpha": ALPHA, "power": 0.8, "phases": [Phase(0.5, 1)]}
    with pytest.raises(ExperimentError, match=said):
        plan(**{**given, **changes})  # type: ignore[arg-type]


def _standing(effect: float) -> Standing:
    """A quarter of 10,000 planned units with deviation 1, at an estimated effect."""
    size = 2_500 / 4
    return Standing(effect * size, size, sequence.optimum(ALPHA) / 4, size, size)


def test_power_left_grows_with_the_estimate_and_is_gone_at_the_end() -> None:
    low, high = (power_left(_standing(effect), 0.05, 10_000, ALPHA) for effect in (0.0, 0.08))
    assert 0 < low < high < 1
    assert power_left(_standing(0.0), 0.05, 2_500, ALPHA) == 0


def test_what_is_found_is_known_now_and_what_grows_not_is_never_known() -> None:
    assert days_until_known(_standing(1.0), 0.05, 0.8, ALPHA, 100.0) == 0
    assert days_until_known(_standing(0.0), 0.05, 0.8, ALPHA, 0.0) is None
    assert days_until_known(_standing(0.0), 1e-6, 0.8, ALPHA, 1.0) is None


def test_the_forecast_day_is_when_the_wanted_power_is_reached() -> None:
    standing = _standing(0.02)
    days = days_until_known(standing, 0.08, 0.8, ALPHA, 50.0)
    assert days is not None
    assert standing.crossing(0.08, standing.size + 50 * days, ALPHA) == pytest.approx(0.8, abs=0.01)


def _exposed(phase: int, place: int, weight: float, units: int) -> Exposed:
    return Exposed(phase, place, weight, {"baseline": units // 2, "candidate": units // 2})


def test_the_rate_is_that_of_the_last_whole_slice_of_the_present_phase() -> None:
    strata = [_exposed(0, 0, 0.1, 9_000), _exposed(1, 2, 0.5, 10), _exposed(1, 1, 0.5, 400), _exposed(1, 0, 0.5, 800)]
    assert rate_a_day(strata, 86_400.0) == 100
    assert rate_a_day(strata[:2], 43_200.0) == 5
    assert rate_a_day([], 86_400.0) == 0
