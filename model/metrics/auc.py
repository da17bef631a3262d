"""Area under the ROC curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.metrics.ranks import midranks


def auc(labels: npt.NDArray[np.generic], scores: npt.NDArray[np.floating]) -> float:
    """Probability that a random positive outscores a random negative, ties counting one half.

    labels: [N], positive where nonzero. scores: float [N]. nan when one class is missing. O(N log N), by midranks
    (Mann and Whitney, 1947).
    """
    positive = labels.astype(bool)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(midranks(scores)[positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
