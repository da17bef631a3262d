"""Midranks: ranks in which equal values share their mean rank. N rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def midranks(values: npt.NDArray[np.floating]) -> Floats:
    """Ranks 1..N of `values` [N], ties by their mean rank; float64 [N]. O(N log N)."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), dtype=np.float64)
    ranks[order] = midranks_of_runs(run_starts(values[order]))
    return ranks


def run_starts(ordered: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """True where `ordered` [N] differs from the value before it; True at the first."""
    starts = np.ones(len(ordered), dtype=np.bool_)
    starts[1:] = ordered[1:] != ordered[:-1]
    return starts


def midranks_of_runs(starts: npt.NDArray[np.bool_]) -> Floats:
    """Midranks of sorted rows from `starts` [N], True where a run of equal rows begins; float64 [N]."""
    first = np.flatnonzero(starts)
    size = np.diff(np.append(first, len(starts)))
    return np.repeat(first + (size + 1) / 2, size)
