"""Calibration: do predicted probabilities come true as often as they say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.metrics.ranks import run_starts

Floats = npt.NDArray[np.float64]


class Reliability(NamedTuple):
    """Bins of rows, by rising prediction. predicted, observed: float64 [b], means of the bin. rows: int64 [b]."""

    predicted: Floats
    observed: Floats
    rows: npt.NDArray[np.int64]


def calibration_ratio(labels: npt.NDArray[np.generic], probabilities: npt.NDArray[np.floating]) -> float:
    """Predicted mean over observed rate: 1 is right, above 1 promises too much. nan without a positive."""
    positives = int(np.count_nonzero(labels))
    return float(probabilities.sum(dtype=np.float64)) / positives if positives else float("nan")


def equal_mass_bins(probabilities: npt.NDArray[np.floating], bins: int) -> npt.NDArray[np.int64]:
    """Bin of every row, int64 [N], values below `bins`: as equal in rows as ties allow.

    Rows of equal prediction share a bin (that of their lowest rank), so the outcome does not depend on the row order.
    """
    order = np.argsort(probabilities, kind="stable")
    first = np.flatnonzero(run_starts(probabilities[order]))
    lowest_rank = np.repeat(first, np.diff(np.append(first, len(order))))
    bin_N = np.empty(len(order), dtype=np.int64)
    bin_N[order] = lowest_rank * bins // max(len(order), 1)
    return bin_N


def reliability(labels: npt.NDArray[np.generic], probabilities: npt.NDArray[np.floating], bins: int) -> Reliability:
    """Predicted mean and observed rate of the non-empty equal-mass bins."""
    bin_N = equal_mass_bins(probabilities, bins)
    rows = np.bincount(bin_N, minlength=bins)
    kept = rows > 0
    predicted = np.bincount(bin_N, weights=probabilities, minlength=bins)[kept] / rows[kept]
    observed = np.bincount(bin_N, weights=labels != 0, minlength=bins)[kept] / rows[kept]
    return Reliability(predicted, observed, rows[kept])


def expected_calibration_error(
    labels: npt.NDArray[np.generic], probabilities: npt.NDArray[np.floating], bins: int = 15
) -> float:
    """Mean over rows of |predicted mean - observed rate| of the row's equal-mass bin; nan without rows.

    Naeini et al., AAAI'15, with bins of equal mass (Nixon et al., 2019): where most predictions are small, bins of
    equal width would put nearly all rows in one. Noise alone makes it positive: compare it at equal rows and bins only.
    """
    if len(labels) == 0:
        return float("nan")
    bins_of = reliability(labels, probabilities, bins)
    return float(np.average(np.abs(bins_of.predicted - bins_of.observed), weights=bins_of.rows))
