"""Percentile intervals of bootstrap replicates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_DEFINED = 0.9
"""Share of replicates that must define a metric for its interval to be told."""


def percentile_interval(replicates: Floats, level: float) -> tuple[Floats, Floats]:
    """Lower and upper ends [...] from replicates [R, ...]: the outer quantiles that leave `level` between them.

    Undefined replicates (a class was not drawn) are left out; nan where more than a tenth of them is.
    """
    outside = (1 - level) / 2
    undefined = np.isnan(replicates)
    told = undefined.mean(axis=0) <= 1 - MIN_DEFINED
    ordered = np.sort(replicates, axis=0)  # nan sorts last
    last = (~undefined).sum(axis=0) - 1
    ends = [_quantile_of_ordered(ordered, last, share) for share in (outside, 1 - outside)]
    lower, upper = (np.where(told, end, np.nan) for end in ends)
    return lower, upper


def _quantile_of_ordered(ordered: Floats, last: npt.NDArray[np.integer], share: float) -> Floats:
    """Linearly interpolated quantile along axis 0 of values whose defined part ends at index `last`."""
    place = np.maximum(last, 0) * share
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(last, 0))
    low = np.take_along_axis(ordered, below[None], axis=0)[0]
    high = np.take_along_axis(ordered, above[None], axis=0)[0]
    value: Floats = low + (high - low) * (place - below)
    return value
