"""Asymptotic confidence sequences: intervals that may be looked at after every unit, forever.

Source: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", arXiv 2103.06476, Theorem 2.2, with rho of their appendix on optimising Robbins' normal mixture. For a mean
over t units with standard deviation sigma it is mean +- sigma sqrt((t rho^2 + 1) / (t^2 rho^2) log((t rho^2 + 1) /
alpha^2)). Written for a score S with variance Q that is S^2 <= (Q + eta) log((Q + eta) / (eta alpha^2)) with
eta = sigma^2 / rho^2; here in terms of z = S / sqrt(Q) and the clock x = Q / eta (t rho^2 in the paper):

    z^2 <= (1 + 1/x) log((1 + x) / alpha^2).

What makes it valid while evidence grows. The bound is Robbins' for a Brownian motion run for the time Q. The score of
stratified.py is one: a new user adds an independent, centred term. Users that return, and outcomes that still come in,
add terms that depend on the user's earlier ones. Where that dependence is not negative, cov(S_1, S_2 - S_1) >= 0, two
looks are more alike than those of the Brownian motion at times Q_1, Q_2, and by Slepian's inequality (1962) the score
leaves either side of the bound at most as often. It is not negative for persistent user effects under any weights:
a user's place in 0..9999 decides both arms, so his contributions to phases with weights p and q have covariance
min(p, q) (1 - max(p, q)) times that of his values. A Q that takes the same user in two phases for two users is too
small; therefore Q holds the covariance between strata (aggregate.CrossAggregate). Where the estimated covariance
is negative, Q leaves it out.

What must not move with the data is eta. It is planned_units / 4 rows' variance, over `optimum`; the variance is the
metric's planned `sd`, or else today's estimate. The estimate converges where a unit's value is final when it is counted
(the maturity window has closed), as in the paper. Where values still grow so does the estimate, the clock slows,
and coverage is then shown by simulation (benchmarks/statistics) only: give `sd`, or a maturity window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from serving.experiment.aggregate import Floats
from serving.experiment.stratified import Score

EQUAL_SPLIT = 4.0
"""n_B n_C / (n_B + n_C) is a quarter of the units when the arms are equal."""


def optimum(alpha: float) -> float:
    """The clock x at which the interval is tightest: -W_{-1}(-alpha^2 / e) - 1, W Lambert's lower branch.

    Setting the derivative of (1 + 1/x) log((1 + x) / alpha^2) to 0 gives x = log((1 + x) / alpha^2). 8.2 at 5 %.
    """
    return float(-special.lambertw(-(alpha**2) / np.e, -1).real - 1)


def variance_of(score: Score) -> Floats:
    """[..., 2, 2]: covariance of (U_B, U_C) that the sequence uses.

    Of each arm the larger of its own variance and the common one: with the smaller intervals would miss, above all
    that of a lift far from 0, where almost all of the difference is one arm's. Shared units count where they add
    variance.
    """
    adds = difference_variance(score.cross) > 0
    return score.larger() + np.where(adds[..., None, None], score.cross, 0.0)


def difference_variance(covariance: Floats) -> Floats:
    """[...]: variance of U_C - U_B."""
    return contrast_variance(covariance, 1.0)


def contrast_variance(covariance: Floats, ratio: float) -> Floats:
    """[...]: variance of U_C - ratio U_B."""
    return covariance[..., 1, 1] - 2 * ratio * covariance[..., 0, 1] + ratio**2 * covariance[..., 0, 0]


def clock(score: Score, variance: Floats, planned_units: float, alpha: float, sd: float | None = None) -> Floats:
    """[...]: x = Q / eta, with eta such that the interval is tightest at `planned_units` equally split.

    variance: [...], Q. sd: planned standard deviation of a unit's value; estimated where it is None.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        row = difference_variance(score.common) / score.size if sd is None else np.asarray(sd**2)
        found: Floats = optimum(alpha) * variance / (row * planned_units / EQUAL_SPLIT)
    return found


def multiplier(clock: ArrayLike, alpha: float) -> Floats:
    """[...]: half width of the interval in standard deviations of the score; infinite at clock 0."""
    x = np.asarray(clock, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt((1 + 1 / x) * (np.log1p(x) - 2 * np.log(alpha))))


def e_value(z: ArrayLike, clock: ArrayLike) -> Floats:
    """[...]: (1 + x)^(-1/2) exp(z^2 x / (2 (1 + x))), the mixture whose bound the sequence is (Robbins 1970, eq. 5).

    It is at least 1 / alpha exactly where the interval of that alpha leaves the hypothesis out.
    """
    x = np.asarray(clock, dtype=np.float64)
    with np.errstate(over="ignore"):
        return np.exp(0.5 * np.square(z) * x / (1 + x) - 0.5 * np.log1p(x))
