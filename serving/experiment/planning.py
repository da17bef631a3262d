"""Before an experiment: its power, its size and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import optimize

from serving.experiment.crossing import crossing_probability
from serving.experiment.design import DAY_S
from serving.experiment.document import ExperimentError
from serving.experiment.sequence import EQUAL_SPLIT, optimum

FOREVER_DAYS = 3_650.0


@dataclass(frozen=True)
class Phase:
    """A step of a ramp."""

    candidate_weight: float
    """Share of the units that see the candidate, 0..1."""
    days: float
    """How long; the last phase of a plan lasts as long as it has to."""


@dataclass(frozen=True)
class Plan:
    """What an effect takes to be found."""

    units: int
    """Of both arms, at one weight throughout, by the confidence sequence."""
    units_fixed: int
    """The same by one look at the end: what being allowed to look costs is the difference."""
    planned_units: int
    """What the design's `planned_units` should be: the same information at an even split."""
    days: float | None
    """Days until the sequence has it, the ramp included; None where no traffic was given."""
    days_fixed: float | None


def power_fixed(effect: float, sd: float, units: float, candidate_weight: float, alpha: float) -> float:
    """Power of Welch's test at one look with `units` in both arms (noncentral t; Cohen 1988, section 2.3).

    effect: absolute; sd: of a unit's value in either arm.
    """
    from scipy import stats  # noqa: PLC0415  seconds, which a controller that starts again does not have

    arms = units * (1 - candidate_weight), units * candidate_weight
    parts = [sd**2 / arm for arm in arms]
    variance = sum(parts)
    freedom = variance**2 / sum(part**2 / (arm - 1) for part, arm in zip(parts, arms, strict=True))
    scale = math.sqrt(variance)
    limit = stats.t.isf(alpha / 2, freedom)
    found = stats.nct(freedom, effect / scale)
    return float(found.sf(limit) + found.cdf(-limit))


def units_fixed(effect: float, sd: float, power: float, candidate_weight: float, alpha: float) -> float:
    """Units of both arms at which `power_fixed` is `power`."""
    fewest = 3 / min(candidate_weight, 1 - candidate_weight)

    def short(units: float) -> float:
        return power - power_fixed(effect, sd, units, candidate_weight, alpha)

    if short(fewest) <= 0:
        return fewest
    most = fewest
    while short(most) > 0:
        most *= 2
    return float(optimize.brentq(short, fewest, most, rtol=1e-13))


def power_sequence(effect: float, sd: float, size: float, planned_units: float, alpha: float) -> float:
    """Power of the confidence sequence by the time that the strata's n_B n_C / (n_B + n_C) add up to `size`."""
    end = optimum(alpha) * size / (planned_units / EQUAL_SPLIT)
    return crossing_probability(effect * math.sqrt(size / end) / sd, end, alpha)


def size_sequence(effect: float, sd: float, power: float, alpha: float) -> float:
    """The `size` at which `power_sequence` is `power`, the sequence being tightest there."""
    end = optimum(alpha)

    def short(z: float) -> float:
        return power - crossing_probability(z / math.sqrt(end), end, alpha)

    z = float(optimize.brentq(short, 0.0, 40.0, rtol=1e-10))
    return (z * sd / effect) ** 2


def duration(size: float, units_a_day: float, phases: Sequence[Phase], maturity_s: float = 0.0) -> float:
    """Days until the strata's n_B n_C / (n_B + n_C) add up to `size`; the last phase goes on. Infinite where it never
    does. units_a_day: that enter a phase for the first time, each day."""
    left, days = size, maturity_s / DAY_S
    for phase in phases[:-1]:
        rate = units_a_day * phase.candidate_weight * (1 - phase.candidate_weight)
        if rate * phase.days >= left:
            return days + left / rate
        left -= rate * phase.days
        days += phase.days
    rate = units_a_day * phases[-1].candidate_weight * (1 - phases[-1].candidate_weight)
    return days + left / rate if rate > 0 else math.inf


def plan(
    *,
    baseline: float,
    sd: float,
    lift: float,
    alpha: float,
    power: float,
    phases: Sequence[Phase],
    units_a_day: float | None = None,
    maturity_s: float = 0.0,
) -> Plan:
    """Size and duration to find a relative effect `lift` on a metric with mean `baseline` and deviation `sd` a unit.

    `units` are those at the last phase's weight. Raises ExperimentError in one line where nothing can be planned.
    """
    _check_task(baseline, sd, lift, alpha, power)
    _check_course(phases, units_a_day, maturity_s)
    effect, weight = lift * baseline, phases[-1].candidate_weight
    size = size_sequence(effect, sd, power, alpha)
    fixed = units_fixed(effect, sd, power, weight, alpha)
    share = weight * (1 - weight)
    days = None if units_a_day is None else duration(size, units_a_day, phases, maturity_s)
    days_fixed = None if units_a_day is None else duration(fixed * share, units_a_day, phases, maturity_s)
    return Plan(
        units=math.ceil(size / share),
        units_fixed=math.ceil(fixed),
        planned_units=math.ceil(size * EQUAL_SPLIT),
        days=days,
        days_fixed=days_fixed,
    )


def _check_task(baseline: float, sd: float, lift: float, alpha: float, power: float) -> None:
    """Every comparison is false for what is no number."""
    for name, value in {"the baseline's mean": baseline, "the deviation": sd, "the effect": lift}.items():
        if not 1e-15 <= value <= 1e15:
            raise ExperimentError(f"{name} {value} is not a number above 0, from 1e-15 to 1e15")
    if not 1e-9 <= alpha < 0.5:
        raise ExperimentError(f"the level {alpha} is not between 1e-9 and 0.5")
    if not 0.5 <= power <= 0.9999:
        raise ExperimentError(f"the power {power} is not in [0.5, 0.9999]")
    if not 1e-6 < lift * baseline / sd < 1e3:
        size = lift * baseline / sd
        raise ExperimentError(f"an effect of {size:.3g} deviations of a unit: from 1e-6 to 1000 can be planned")


def _check_course(phases: Sequence[Phase], units_a_day: float | None, maturity_s: float) -> None:
    if not phases or not all(0 <= phase.candidate_weight < 1 for phase in phases) or phases[-1].candidate_weight < 1e-6:
        raise ExperimentError("a plan needs phases with weights from 0 to below 1, the last one at least 1e-6")
    for phase in phases:
        if not 0 <= phase.days <= FOREVER_DAYS:
            raise ExperimentError(f"a phase of {phase.days:g} days: 0 to {FOREVER_DAYS:g} can be planned")
    if units_a_day is not None and not 0 < units_a_day <= 1e15:
        raise ExperimentError(f"{units_a_day} units a day: a number above 0, up to 1e15, is wanted")
    if not 0 <= maturity_s <= FOREVER_DAYS * DAY_S:
        raise ExperimentError(f"a maturity of {maturity_s:g} s: 0 s to ten years can be planned")
