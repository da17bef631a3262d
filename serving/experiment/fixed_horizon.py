"""Intervals for one look at the end, labelled as such: looked at twice they miss more often than they say."""

from __future__ import annotations

import numpy as np
from scipy import stats

from serving.experiment.aggregate import Floats
from serving.experiment.interval import ratio_interval
from serving.experiment.sequence import difference_variance
from serving.experiment.strata import Strata
from serving.experiment.stratified import B, C, Score, stratified_score


def standard_error(score: Score) -> Floats:
    """[...]: of the stratified difference, each arm with its own variance, with the covariance of shared units."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(difference_variance(_covariance(score))) / score.weight)


def _covariance(score: Score) -> Floats:
    """[..., 2, 2]; without the shared units where, by chance, they leave no variance at all."""
    total = score.own + score.cross
    return np.where((difference_variance(total) > 0)[..., None, None], total, score.own)


def half_width(score: Score, alpha: float) -> Floats:
    """[...]: half width of the interval of the difference by Student's t (Welch 1947)."""
    return stats.t.isf(alpha / 2, score.freedom) * standard_error(score)  # type: ignore[no-any-return]


def lift_interval(score: Score, alpha: float) -> tuple[Floats, Floats]:
    """[...]: both ends of the interval of the lift (interval.ratio_interval) by Student's t."""
    lower, upper = ratio_interval(score.level, _covariance(score), stats.t.isf(alpha / 2, score.freedom))
    return lower - 1, upper - 1


def pooled_score(strata: Strata) -> Score:
    """All strata as if they were one: what a comparison that ignores phases and slices would say."""
    count = strata.count.sum(axis=-2, keepdims=True)
    sums = (strata.count[..., None] * strata.mean).sum(axis=-3, keepdims=True)
    mean = sums / np.maximum(count, 1)[..., None]
    gap = strata.mean - mean
    between = strata.count[..., None, None] * gap[..., :, None] * gap[..., None, :]
    merged = Strata(strata.columns, count, mean, (strata.m2 + between).sum(axis=-4, keepdims=True))
    return stratified_score(merged, merged.counted(2))


def effect(score: Score) -> Floats:
    """[...]: the stratified difference, candidate less baseline."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (score.level[..., C] - score.level[..., B]) / score.weight
