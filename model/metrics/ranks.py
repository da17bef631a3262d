"""Midranks: ranks in which equal values share their mean rank. N rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def midranks(values: npt.NDArray[np.floating]) -> Floats:
    """Ranks 1..N of `values` [N], ties by their mean rank; float64 [N]. O(N log N)."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), dtype=np.float64)
    ranks[order] = midranks_of_sorted(values[order])
    return ranks


def midranks_of_sorted(ascending: npt.NDArray[np.floating]) -> Floats:
    """Midranks of values that already ascend; float64 [N]."""
    if len(ascending) == 0:
        return np.empty(0, dtype=np.float64)
    first = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))
    size = np.diff(np.append(first, len(ascending)))
    return np.repeat(first + (size + 1) / 2, size)
