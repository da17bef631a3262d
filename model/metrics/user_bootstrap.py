"""Cluster bootstrap over users: every replicate draws users with replacement, each with all its rows.

Rows of one user resemble each other, so resampling rows would promise more certainty than the data hold. Two models
measured with the same seed on the same rows see the same draws: the difference of their replicates is the paired one.
Legend: U users, S samples, R replicates, M metrics, K totals, N rows of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack

from model.metrics.calibration import equal_mass_bins
from model.metrics.grouped_auc import user_aucs
from model.metrics.log_loss import log_losses
from model.metrics.weighted_auc import WeightedAuc

Floats = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

METRICS = ("auc", "gauc", "log_loss", "ece", "calibration")
"""Order of the last axis of `replicates`."""
_CHUNK = 64
"""Replicates drawn at once."""


@dataclass(frozen=True)
class Sample:
    """Rows that are measured together. labels [N], positive where nonzero; scores [N]; users int [N], below U."""

    labels: npt.NDArray[np.generic]
    scores: npt.NDArray[np.floating]
    users: npt.NDArray[np.integer]


def replicates(samples: Sequence[Sample], n_users: int, count: int, seed: int, bins: int) -> Floats:
    """Every metric of every sample on the data (index 0) and on `count` bootstrap replicates; float64 [1+R, S, M].

    The bins of the calibration error stay those of the data. nan where a replicate does not define a metric.
    """
    aucs = [WeightedAuc.of(sample.labels, sample.scores, sample.users) for sample in samples]
    totals_KU = vstack([user_totals(sample, n_users, bins) for sample in samples], format="csr")
    values = np.empty((1 + count, len(samples), len(METRICS)))
    done = 0
    for weight_rU in _weights(n_users, count, seed):
        rows = slice(done, done + len(weight_rU))
        values[rows, :, 0] = [[auc(weight_U) for auc in aucs] for weight_U in weight_rU]
        totals = (totals_KU @ weight_rU.T.astype(np.float64)).T
        values[rows, :, 1:] = _from_totals(totals.reshape(len(weight_rU), len(samples), -1))
        done += len(weight_rU)
    return values


def user_totals(sample: Sample, n_users: int, bins: int) -> csr_array:
    """Per-user totals that every metric but AUC is a function of; sparse float64 [6 + bins, U].

    Rows: impressions, log loss, prediction, positives, impressions and impression-weighted AUC of users with both
    classes, then per bin the sum of prediction minus label.
    """
    positive = sample.labels.astype(bool)
    per_user = user_aucs(sample.labels, sample.scores, sample.users, n_users)
    both = ~np.isnan(per_user.auc)
    dense = np.stack(
        [
            per_user.rows.astype(np.float64),
            np.bincount(sample.users, weights=log_losses(sample.labels, sample.scores), minlength=n_users),
            np.bincount(sample.users, weights=sample.scores, minlength=n_users),
            np.bincount(sample.users, weights=positive, minlength=n_users),
            np.where(both, per_user.rows, 0),
            np.where(both, per_user.rows * np.nan_to_num(per_user.auc), 0),
        ]
    )
    bin_N = equal_mass_bins(sample.scores, bins)
    gap_N = sample.scores.astype(np.float64) - positive
    gaps = csr_array((gap_N, (bin_N, sample.users)), shape=(bins, n_users))
    return vstack([csr_array(dense), gaps], format="csr")


def _from_totals(totals_RSK: Floats) -> Floats:
    """GAUC, log loss, calibration error and calibration ratio [R, S, 4] from user totals summed with weights."""
    rows, loss, predicted, positives, both_rows, both_auc = np.moveaxis(totals_RSK[..., :6], -1, 0)
    gap = np.abs(totals_RSK[..., 6:]).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [both_auc / both_rows, loss / rows, gap / rows, np.where(positives > 0, predicted / positives, np.nan)]
    return np.stack(ratios, axis=-1)


def _weights(n_users: int, count: int, seed: int) -> Iterator[Int32]:
    """How often each user is drawn: int32 [<= _CHUNK, U] at a time; first of all, every user once."""
    yield np.ones((1, n_users), dtype=np.int32)
    random = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        drawn = [random.integers(0, n_users, n_users) for _ in range(min(_CHUNK, count - start))]
        yield np.stack([np.bincount(users, minlength=n_users).astype(np.int32) for users in drawn])
