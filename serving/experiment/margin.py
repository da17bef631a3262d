"""Is the candidate worse than its margin, or proven not to be?

The margin is a share m of the baseline, of its size where it is negative: with d = 1 where higher is better and -1
where lower is, the candidate is within it where

    d (C - B) + m |B| = max over s = -1, 1 of  d (C - (1 + d s m) B)  > 0.

Both are contrasts of the scores, so nothing needs to be known of the baseline's sign: one of them proven above 0 proves
the maximum (each at half the level, one side of its interval), and for harm both must be proven below: the smaller
e-value is one against `either is at least 0`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.experiment import sequence
from serving.experiment.aggregate import Floats
from serving.experiment.design import Metric
from serving.experiment.stratified import Score


@dataclass(frozen=True)
class Margin:
    """A metric against its margin."""

    lower: float
    """Always-valid lower end of d (C - B) + m |B|, a unit."""
    e_harm: float
    """E-value against `within the margin`."""


def margin_of(metric: Metric, score: Score, covariance: Floats, clock: float, multiplier: float) -> Margin:
    """covariance: [2, 2], of the sequence; multiplier: half width in standard deviations."""
    direction = 1.0 if metric.better == "higher" else -1.0
    lowers, harms = [], []
    for sign in (-1.0, 1.0):
        ratio = 1 + direction * sign * metric.margin
        spread = float(np.sqrt(_variance(score, covariance, ratio)))
        contrast = direction * float(score.contrast(ratio))
        lowers.append((contrast - multiplier * spread) / float(score.weight))
        harms.append(float(sequence.e_value(min(contrast, 0.0) / spread, clock)))
    return Margin(max(lowers), min(harms))


def _variance(score: Score, covariance: Floats, ratio: float) -> Floats:
    """Without the shared units where, by chance, they leave no variance at all."""
    variance = sequence.contrast_variance(covariance, ratio)
    return variance if variance > 0 else sequence.contrast_variance(score.larger(), ratio)
