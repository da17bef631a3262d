"""DeLong's variance of AUC, in O(N log N).

DeLong et al., Biometrics 1988; fast form: Sun and Xu, IEEE Signal Processing Letters 2014. Rows are taken as
independent: where users contribute several rows each, a bootstrap over users gives the honest (mostly wider) interval.
Legend: N rows, m positives, n negatives, k score columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from model.metrics.ranks import midranks

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.generic]
Scores = npt.NDArray[np.floating]


class Estimate(NamedTuple):
    """A value with its standard error and normal interval; all nan where undefined."""

    value: float
    error: float
    lower: float
    upper: float


def delong(labels: Labels, scores: Scores, level: float = 0.95) -> Estimate:
    """AUC of `scores` [N] with its interval at `level`. nan unless both classes have two rows or more."""
    aucs, covariance = delong_covariance(labels, scores[None])
    return _estimate(aucs[0], covariance[0, 0], level)


def paired_delong(labels: Labels, baseline: Scores, candidate: Scores, level: float = 0.95) -> Estimate:
    """AUC of `candidate` [N] minus AUC of `baseline` [N] on the same rows, with its interval at `level`."""
    aucs, covariance = delong_covariance(labels, np.stack([baseline, candidate]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return _estimate(aucs[1] - aucs[0], variance, level)


def delong_covariance(labels: Labels, scores_kN: Scores) -> tuple[Floats, Floats]:
    """AUCs [k] of the score rows and their covariance [k, k]; nan unless both classes have two rows or more."""
    positive = labels.astype(bool)
    m = int(positive.sum())
    n = len(positive) - m
    k = len(scores_kN)
    if m < 2 or n < 2:
        return np.full(k, np.nan), np.full((k, k), np.nan)
    of_positives = np.empty((k, m))  # share of negatives that each positive outscores (V10)
    of_negatives = np.empty((k, n))  # share of positives that outscore each negative (V01)
    for row, scores in enumerate(scores_kN):
        rank = midranks(scores)
        of_positives[row] = (rank[positive] - midranks(scores[positive])) / n
        of_negatives[row] = 1 - (rank[~positive] - midranks(scores[~positive])) / m
    covariance = np.atleast_2d(np.cov(of_positives)) / m + np.atleast_2d(np.cov(of_negatives)) / n
    return of_positives.mean(axis=1), covariance


def _estimate(value: float, variance: float, level: float) -> Estimate:
    error = float(np.sqrt(np.maximum(variance, 0)))
    reach = float(ndtri((1 + level) / 2)) * error
    return Estimate(float(value), error, float(value) - reach, float(value) + reach)
