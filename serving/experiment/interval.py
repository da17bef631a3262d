"""Intervals, and the interval of a ratio from two scores, their covariance and a number of standard deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.experiment.aggregate import Floats
from serving.experiment.stratified import B, C


@dataclass(frozen=True)
class Interval:
    """Both ends; infinite where nothing bounds it."""

    lower: float
    upper: float

    def flipped(self) -> Interval:
        """The interval of the negated number."""
        return Interval(-self.upper, -self.lower)


def ratio_interval(level: Floats, covariance: Floats, multiplier: ArrayLike) -> tuple[Floats, Floats]:
    """Lower and upper end [...] of U_C / U_B: all ratios q with (U_C - q U_B)^2 <= m^2 var(U_C - q U_B) (Fieller 1954).

    It tests the ratio itself: a margin that is relative to the baseline is compared with a bound that knows that the
    baseline is estimated too. Infinite where the baseline's level is not told from 0.
    level: [..., 2]; covariance: [..., 2, 2]; multiplier: [...].
    """
    square = np.square(np.asarray(multiplier, dtype=np.float64))
    first = level[..., B] ** 2 - square * covariance[..., B, B]
    middle = level[..., B] * level[..., C] - square * covariance[..., B, C]
    last = level[..., C] ** 2 - square * covariance[..., C, C]
    bounded: NDArray[np.bool_] = first > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(middle**2 - first * last, 0.0))
        lower, upper = (middle - root) / first, (middle + root) / first
    return np.where(bounded, lower, -np.inf), np.where(bounded, upper, np.inf)
