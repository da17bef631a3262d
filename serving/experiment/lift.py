"""The lift: candidate over baseline, less 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.experiment.aggregate import Floats
from serving.experiment.interval import Interval
from serving.experiment.stratified import B, C, Score


@dataclass(frozen=True)
class Lift:
    """There is none where the baseline's level is 0 or below: a share of it would turn better into worse."""

    value: float | None
    interval: Interval

    @staticmethod
    def of(score: Score, lower: Floats, upper: Floats) -> Lift:
        """lower, upper: ends of the interval of U_C / U_B."""
        baseline, candidate = float(score.level[B]), float(score.level[C])
        if not baseline > 0:
            return Lift(None, Interval(-math.inf, math.inf))
        return Lift(candidate / baseline - 1, Interval(float(lower) - 1, float(upper) - 1))
