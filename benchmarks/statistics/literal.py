"""The confidence sequence once more, written from the paper alone, unit by unit: the peer of the product's.

arXiv 2103.06476: the average treatment effect in a randomised experiment from pseudo-outcomes f_i with the arms' means
as regression; Theorem 2.2's interval of their mean; rho of the closed form in the appendix. No code is shared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pseudo_outcomes(value: Floats, candidate: Floats, weight: float) -> Floats:
    """f_i = m_1 - m_0 + (A_i / p - (1 - A_i) / (1 - p)) (Y_i - m_{A_i})."""
    m_1 = (candidate * value).sum() / candidate.sum()
    m_0 = ((1 - candidate) * value).sum() / (1 - candidate).sum()
    residual = value - np.where(candidate == 1, m_1, m_0)
    return np.asarray(m_1 - m_0 + (candidate / weight - (1 - candidate) / (1 - weight)) * residual)


def sequence(outcomes: Floats, t_star: float, alpha: float) -> tuple[float, float]:
    """Centre and radius at t = len(outcomes)."""
    t = len(outcomes)
    rho = np.sqrt((-2 * np.log(alpha) + np.log(-2 * np.log(alpha)) + 1) / t_star)
    sigma = outcomes.std()
    radius = sigma * np.sqrt(2 * (t * rho**2 + 1) / (t**2 * rho**2) * np.log(np.sqrt(t * rho**2 + 1) / alpha))
    return float(outcomes.mean()), float(radius)


def radius_of_moments(count: Floats, m2: Floats, weight: float, t_star: float, alpha: float) -> Floats:
    """The same radius from each arm's count and sum of squared deviations, [..., 2], for many runs at once."""
    t = count.sum(axis=-1)
    variance = (m2[..., 0] / (1 - weight) ** 2 + m2[..., 1] / weight**2) / t
    rho = np.sqrt((-2 * np.log(alpha) + np.log(-2 * np.log(alpha)) + 1) / t_star)
    bound = 2 * (t * rho**2 + 1) / (t**2 * rho**2) * np.log(np.sqrt(t * rho**2 + 1) / alpha)
    return np.asarray(np.sqrt(variance * bound))
