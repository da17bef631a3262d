"""How much a figure moves when nothing has changed: its band, from repeated runs.

A stored and a new figure are one run each, so their difference has twice the variance of a run; the band is the
prediction limit t(df) s sqrt(2) of it (Hahn & Meeker, Statistical Intervals, section 4.8). s is the standard deviation
of the figure's own runs or that of all figures of its kind, pooled, whichever is larger: a few runs of one figure may
agree by chance. df are those of the pooled one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from benchmarks.suite.benchmark import Ratio, Scale

LEVEL = 0.001
"""Chance of one figure to be called worse though nothing has changed."""


def bands(runs: Mapping[str, tuple[Ratio, Sequence[float]]]) -> dict[str, float]:
    """Half width by figure, on its kind's scale (`place`); runs: the figures of repeated runs. Infinite where a kind
    has no figure with two runs, or one that was 0 in some runs only."""
    spread = {name: _spread([place(value, ratio.scale) for value in values]) for name, (ratio, values) in runs.items()}
    found = {}
    for name, (ratio, _) in runs.items():
        squares, freedom = np.sum([spread[other] for other, (kind, _) in runs.items() if kind == ratio], axis=0)
        found[name] = _half_width(spread[name], float(squares), float(freedom))
    return found


def place(value: float, scale: Scale) -> float:
    """Where changes are added: the logarithm of a ratio."""
    if scale == "difference":
        return value
    return math.log(value) if value > 0 else -math.inf


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Sum of squares about the mean, and its degrees of freedom."""
    if len(values) < 2 or len(set(values)) == 1:
        return 0.0, max(len(values) - 1.0, 0.0)
    if not all(map(math.isfinite, values)):
        return math.inf, len(values) - 1.0
    return float(np.var(values) * len(values)), len(values) - 1.0


def _half_width(own: tuple[float, float], squares: float, freedom: float) -> float:
    if freedom <= 0:
        return math.inf
    variances = [squares / freedom]
    if own[1] > 0:
        variances.append(own[0] / own[1])
    return float(special.stdtrit(freedom, 1 - LEVEL)) * math.sqrt(2 * max(variances))
