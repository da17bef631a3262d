"""Intervals for one look at the end, labelled as such: looked at twice they miss more often than they say."""

from __future__ import annotations

import numpy as np
from scipy import special

from serving.experiment.aggregate import Floats, merged
from serving.experiment.interval import ratio_interval
from serving.experiment.sequence import difference_variance
from serving.experiment.strata import Strata
from serving.experiment.stratified import B, C, Score, stratified_score


def standard_error(score: Score) -> Floats:
    """[...]: of the stratified difference, each arm with its own variance, with the covariance of shared units."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(difference_variance(_with_shared(score.own, score.cross))) / score.weight)


def _with_shared(within: Floats, cross: Floats) -> Floats:
    """[..., 2, 2]; without the shared units where, by chance, they leave no variance at all."""
    total = within + cross
    return np.where((difference_variance(total) > 0)[..., None, None], total, within)


def half_width(score: Score, alpha: float) -> Floats:
    """[...]: half width of the interval of the difference by Student's t (Welch 1947)."""
    return -special.stdtrit(score.freedom, alpha / 2) * standard_error(score)  # type: ignore[no-any-return]


def ratio_interval_once(score: Score, alpha: float) -> tuple[Floats, Floats]:
    """[...]: both ends of the interval of U_C / U_B (interval.ratio_interval) by Student's t.

    An arm without an event has no variance of its own, and the ratio no width; therefore `Score.larger`.
    """
    return ratio_interval(
        score.level, _with_shared(score.larger(), score.cross), -special.stdtrit(score.freedom, alpha / 2)
    )


def pooled_score(strata: Strata) -> Score:
    """All strata as if they were one: what a comparison that ignores phases and slices would say."""
    mean, m2 = merged(
        np.moveaxis(strata.count, -2, -1), np.moveaxis(strata.mean, -3, -2), np.moveaxis(strata.m2, -4, -3)
    )
    count = strata.count.sum(axis=-2)
    together = Strata(strata.columns, count[..., None, :], mean[..., None, :, :], m2[..., None, :, :, :])
    return stratified_score(together, together.counted(2))


def effect(score: Score) -> Floats:
    """[...]: the stratified difference, candidate less baseline."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (score.level[..., C] - score.level[..., B]) / score.weight
