"""The lift: candidate over baseline, less 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.experiment.aggregate import Floats
from serving.experiment.interval import Interval
from serving.experiment.stratified import B, C, Score

FARTHEST = 1e9
"""A lift beyond it is one of a baseline that is as good as 0."""


@dataclass(frozen=True)
class Lift:
    """There is none where the baseline's level is 0 or below: a share of it would turn better into worse."""

    value: float | None
    interval: Interval

    @staticmethod
    def of(score: Score, lower: Floats, upper: Floats) -> Lift:
        """lower, upper: ends of the interval of U_C / U_B."""
        baseline, candidate = float(score.level[B]), float(score.level[C])
        if not (baseline > 0 and abs(candidate / baseline) < FARTHEST):
            return Lift(None, Interval(-math.inf, math.inf))
        ends = float(lower) - 1, float(upper) - 1
        low, high = ends if max(map(abs, ends)) < FARTHEST else (-math.inf, math.inf)
        return Lift(candidate / baseline - 1, Interval(low, high))
