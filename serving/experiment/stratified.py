"""The stratified comparison of two arms: mean, proportion or ratio; with a covariate, with returning users.

In stratum s let D_a be the total denominator of arm a (its number of units where the metric is no ratio) and R_a the
ratio of totals. The stratified score of arm a is

    U_a = sum_s w_s R_sa,    w_s = D_sB D_sC / (D_sB + D_sC),

and the effect is (U_C - U_B) / sum_s w_s. These are the weights of Mantel & Haenszel (1959) and of a regression with
one intercept a stratum (Angrist 1998): the most precise where the effect is the same everywhere. With them
w_s (R_sC - R_sB) = Y_sC - R_s D_sC with R_s the ratio of both arms together, so that the score is exactly centred when
the arms are exchangeable, however small the stratum.

Variances of ratios are by the delta method (Deng, Knoblich & Lu, KDD'18, section 2); a covariate is taken out as in
CUPED (Deng, Xu, Kohavi & Walker, WSDM'13, eq. 4), for ratios on the linearised ratio, one coefficient for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.experiment.aggregate import Floats
from serving.experiment.strata import Strata

B, C = 0, 1
"""Places of the arms."""


@dataclass(frozen=True)
class Score:
    """Sums over the counted strata. Every array may have leading dimensions. Covariances are of (U_B, U_C)."""

    level: Floats
    """[..., 2]: U_B, U_C."""
    weight: Floats
    """[...]: sum of the strata's weights, in units of the denominator."""
    size: Floats
    """[...]: sum of n_B n_C / (n_B + n_C): a quarter of the units where the arms are equal."""
    own: Floats
    """[..., 2, 2]: covariance where each arm of each stratum has its own variance (Welch)."""
    common: Floats
    """[..., 2, 2]: covariance where both arms of a stratum have one variance."""
    cross: Floats
    """[..., 2, 2]: what units in several strata add."""
    freedom: Floats
    """[...]: degrees of freedom of `own` (Satterthwaite 1946)."""
    coefficient: Floats
    """[...]: of the covariate; 0 without one."""
    unadjusted: Floats
    """[...]: variance of U_C - U_B without the covariate and without `cross`."""

    def contrast(self, ratio: float | Floats = 1.0) -> Floats:
        """[...]: U_C - ratio U_B."""
        return self.level[..., C] - ratio * self.level[..., B]

    def larger(self) -> Floats:
        """[..., 2, 2]: of each arm the larger of its own variance and the common one. With few events an arm's own is
        small exactly when its mean is, and 0 where there is none."""
        return np.maximum(self.own, self.common)


def stratified_score(strata: Strata, counted: NDArray[np.bool_]) -> Score:
    """counted: [..., S], the strata that are compared. Scores are 0 where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _score(strata, counted)


def _score(strata: Strata, counted: NDArray[np.bool_]) -> Score:
    count, denominator = strata.count, strata.denominators()
    weight = _where(counted, _half_harmonic(count * denominator))
    coefficient = _coefficient(strata, counted, weight)
    plain = _where(counted[..., None, None], _influence(strata))
    influence = plain.copy()
    ratio = strata.mean[..., 0] / denominator
    place = strata.columns.covariate
    if place is not None:
        influence[..., place] = np.where(counted[..., None], -coefficient[..., None, None], 0.0)
        covariate = strata.mean[..., place]
        together = (count * covariate).sum(axis=-1, keepdims=True) / count.sum(axis=-1, keepdims=True)
        ratio = ratio - coefficient[..., None, None] * (covariate - together)
    variance = _variance(strata, influence)
    own = _where(counted[..., None], weight[..., None] ** 2 * variance / count)
    pooled = ((count - 1) * variance).sum(axis=-1, keepdims=True) / (count.sum(axis=-1, keepdims=True) - 2)
    common = _where(counted[..., None], weight[..., None] ** 2 * pooled / count)
    unadjusted = _where(counted[..., None], weight[..., None] ** 2 * _variance(strata, plain) / count)
    return Score(
        level=_where(counted[..., None], weight[..., None] * ratio).sum(axis=-2),
        weight=weight.sum(axis=-1),
        size=_where(counted, _half_harmonic(count)).sum(axis=-1),
        own=_diagonal(own.sum(axis=-2)),
        common=_diagonal(common.sum(axis=-2)),
        cross=_cross(strata, weight, influence),
        freedom=own.sum(axis=(-1, -2)) ** 2 / _where(counted[..., None], own**2 / (count - 1)).sum(axis=(-1, -2)),
        coefficient=coefficient,
        unadjusted=unadjusted.sum(axis=(-1, -2)),
    )


def _where(counted: NDArray[np.bool_], values: Floats) -> Floats:
    return np.where(counted, values, 0.0)


def _half_harmonic(pair: Floats) -> Floats:
    return pair[..., B] * pair[..., C] / (pair[..., B] + pair[..., C])


def _diagonal(pair: Floats) -> Floats:
    return np.asarray(pair[..., None] * np.eye(2))


def _influence(strata: Strata) -> Floats:
    """[..., S, 2, C]: n times what a unit's deviation adds to the ratio of its arm (delta method), no covariate."""
    denominator = strata.denominators()
    influence = np.zeros_like(strata.mean)
    influence[..., 0] = 1 / denominator
    place = strata.columns.denominator
    if place is not None:
        influence[..., place] = -strata.mean[..., 0] / denominator**2
    return influence


def _variance(strata: Strata, influence: Floats) -> Floats:
    """[..., S, 2]: variance of one unit's influence."""
    squares = np.einsum("...i,...ij,...j->...", influence, strata.m2, influence)
    return np.asarray(np.maximum(squares, 0.0) / (strata.count - 1))


def _coefficient(strata: Strata, counted: NDArray[np.bool_], weight: Floats) -> Floats:
    """[...]: the covariate's coefficient that minimises the score's variance (CUPED eq. 4), both arms of a stratum
    together, strata weighted as in the score."""
    place = strata.columns.covariate
    if place is None:
        return np.zeros(weight.shape[:-1])
    count, mean = strata.count, strata.mean
    total = count.sum(axis=-1)
    middle = (count[..., None] * mean).sum(axis=-2) / total[..., None]
    gap = mean[..., C, :] - mean[..., B, :]
    between = gap[..., :, None] * gap[..., None, :] * _half_harmonic(count)[..., None, None]
    m2 = strata.m2.sum(axis=-3) + between
    covariance = m2[..., 0, place]
    divisor = np.ones_like(total)
    if strata.columns.denominator is not None:
        divisor = middle[..., strata.columns.denominator]
        covariance = covariance - middle[..., 0] / divisor * m2[..., strata.columns.denominator, place]
    share = weight**2 * (1 / count).sum(axis=-1) / (total - 1)
    top = _where(counted, share * covariance / divisor).sum(axis=-1)
    bottom = _where(counted, share * m2[..., place, place]).sum(axis=-1)
    return np.where(bottom > 0, top / bottom, 0.0)


def _cross(strata: Strata, weight: Floats, influence: Floats) -> Floats:
    """[..., 2, 2]: covariances between strata of the scores, from units with a row in both (cluster-robust, clusters
    being users: Liang & Zeger 1986, eq. 4; Deng, Lu & Litz, WSDM'17, on units that several analysis rows share)."""
    found = np.zeros((*weight.shape[:-1], 2, 2))
    shared = strata.shared
    if shared is None:
        return found
    a, b = (shared.stratum_a, shared.arm_a), (shared.stratum_b, shared.arm_b)
    mean_a, mean_b = strata.mean[..., a[0], a[1], :], strata.mean[..., b[0], b[1], :]
    step_a, step_b = influence[..., a[0], a[1], :], influence[..., b[0], b[1], :]

    def along(step: Floats, vector: Floats) -> Floats:
        return np.asarray(np.einsum("...c,...c->...", step, vector))

    product = np.einsum("...i,...ij,...j->...", step_a, shared.products, step_b)
    product -= along(step_a, shared.sums_a) * along(step_b, mean_b)
    product -= along(step_a, mean_a) * along(step_b, shared.sums_b)
    product += shared.count * along(step_a, mean_a) * along(step_b, mean_b)
    scale = weight[..., a[0]] * weight[..., b[0]]
    both = scale > 0
    cells = strata.count[..., a[0], a[1]] * strata.count[..., b[0], b[1]]
    share = _where(both, scale * product / cells)
    for one in (B, C):
        for other in (B, C):
            chosen = (shared.arm_a == one) & (shared.arm_b == other)
            part = share[..., chosen].sum(axis=-1)
            found[..., one, other] += part
            found[..., other, one] += part
    return found
