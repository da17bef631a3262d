"""Log loss: mean negative log-likelihood of binary labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FLOOR = 1e-7
"""Probabilities are kept this far from 0 and 1, about one float32 step below 1: no single row costs infinity."""


def log_losses(labels: npt.NDArray[np.generic], probabilities: npt.NDArray[np.floating]) -> Floats:
    """Loss of every row, in nats; float64 [N]. labels [N], positive where nonzero; probabilities [N] in [0, 1]."""
    likelihood = np.where(labels.astype(bool), probabilities, 1 - probabilities.astype(np.float64))
    losses: Floats = -np.log(np.clip(likelihood, FLOOR, 1 - FLOOR))
    return losses


def log_loss(labels: npt.NDArray[np.generic], probabilities: npt.NDArray[np.floating]) -> float:
    """Mean loss of the rows, in nats; nan without rows."""
    return float(log_losses(labels, probabilities).mean()) if len(labels) else float("nan")
