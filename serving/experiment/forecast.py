"""In the middle of an experiment: how much power is left, and when it will be known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import optimize

from serving.experiment.crossing import crossing_probability
from serving.experiment.design import DAY_S
from serving.experiment.evidence import Exposed
from serving.experiment.planning import FOREVER_DAYS
from serving.experiment.sequence import EQUAL_SPLIT

_LOOKS, _POINTS = 12, 121
"""Coarser than in planning: a report asks for many."""


@dataclass(frozen=True)
class Standing:
    """Where a comparison stands on its sequence."""

    score: float
    """U_C - U_B."""
    variance: float
    """Of the score."""
    clock: float
    """Variance over eta."""
    weight: float
    """Sum of the strata's weights: the score's expectation is this times the effect."""
    size: float
    """Sum of n_B n_C / (n_B + n_C)."""

    def crossing(self, effect: float, size: float, alpha: float) -> float:
        """Chance that the sequence leaves 0 out by the time that `size` is reached, given where it stands, if the
        effect is `effect` from now on (conditional power; Lan & Wittes, Biometrics 1988)."""
        root = math.sqrt(self.variance / self.clock)  # sqrt(eta)
        drift = effect * self.weight / self.clock / root
        end = self.clock * size / self.size
        return crossing_probability(
            drift, end, alpha, start=(self.clock, self.score / root), looks=_LOOKS, points_a_look=_POINTS
        )


def rate_a_day(exposed: Sequence[Exposed], slice_s: float) -> float:
    """Growth of n_B n_C / (n_B + n_C) a day: that of the last whole slice of the present phase (its first slice
    where there is no other)."""
    begun = [one for one in exposed if sum(one.units.values())]
    present = max((one.phase for one in begun), default=None)
    slices = sorted((one for one in begun if one.phase == present), key=lambda one: one.slice)
    if not slices:
        return 0.0
    chosen = slices[-2] if len(slices) > 1 else slices[-1]
    units = sum(chosen.units.values())
    return units * chosen.candidate_weight * (1 - chosen.candidate_weight) * DAY_S / slice_s


def power_left(standing: Standing, effect: float, planned_units: float, alpha: float) -> float:
    """Chance to still find `effect` by the planned number of units; 0 once they are there."""
    return standing.crossing(effect, planned_units / EQUAL_SPLIT, alpha)


def days_until_known(standing: Standing, effect: float, power: float, alpha: float, rate: float) -> float | None:
    """Days until the chance to have found `effect` is `power` at the present rate; None beyond ten years."""

    def short(days: float) -> float:
        return power - standing.crossing(effect, standing.size + rate * days, alpha)

    if short(0.0) <= 0:
        return 0.0
    if rate <= 0 or short(FOREVER_DAYS) > 0:
        return None
    return float(optimize.brentq(short, 0.0, FOREVER_DAYS, xtol=1e-2))
