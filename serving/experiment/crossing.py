"""Chance that a comparison crosses the bound of its confidence sequence by a given time, for planning.

The score is a Brownian motion with drift on the clock of sequence.py; its density among the runs that have not yet
crossed is carried from look to look (Armitage, McPherson & Rowe 1969; Jennison & Turnbull, Group Sequential Methods,
section 19.2).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from serving.experiment.aggregate import Floats
from serving.experiment.sequence import multiplier

LOOKS = 40
GRID = 401
_REACH = 8.0
"""Standard deviations around its mean within which the score is followed."""


def bound(clock: ArrayLike, alpha: float) -> Floats:
    """The sequence's bound on the score over sqrt(eta), [...]: its multiplier times sqrt(x)."""
    return np.asarray(multiplier(clock, alpha) * np.sqrt(clock))


def crossing_probability(
    drift: float,
    end: float,
    alpha: float,
    *,
    start: tuple[float, float] = (0.0, 0.0),
    looks: int = LOOKS,
    points_a_look: int = GRID,
) -> float:
    """Chance to be beyond the bound at one of `looks` evenly spaced looks up to clock `end`, on either side.

    drift: of the score over sqrt(eta), per unit of the clock. start: clock and score where one stands; a score that is
    beyond the bound already has crossed.
    """
    at, score = start
    if at > 0 and abs(score) >= bound(at, alpha):
        return 1.0
    if end <= at:
        return 0.0
    times = np.linspace(at, end, looks + 1)[1:]
    step = (end - at) / looks
    spread = math.sqrt(step)
    points, density = np.array([score]), np.array([1.0])
    crossed = 0.0
    for time in times:
        limit = float(bound(time, alpha))
        middle = points + drift * step
        crossed += float(density @ (special.ndtr((middle - limit) / spread) + special.ndtr((-limit - middle) / spread)))
        centre, reach = score + drift * (time - at), _REACH * math.sqrt(time - at)
        low, high = max(-limit, centre - reach), min(limit, centre + reach)
        if low >= high:
            break
        grid = np.linspace(low, high, points_a_look)
        weight = np.full(points_a_look, grid[1] - grid[0])
        weight[[0, -1]] /= 2
        gap = (grid[:, None] - middle[None, :]) / spread
        density = weight * (np.exp(-0.5 * gap**2) @ density) / (spread * math.sqrt(2 * math.pi))
        points = grid
    return min(1.0, crossed)
