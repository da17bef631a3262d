"""GAUC: AUC within each user, averaged over users."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.metrics.ranks import midranks_of_runs, run_starts

Floats = npt.NDArray[np.float64]


class UserAucs(NamedTuple):
    """auc: float64 [U], nan for users with one class only. rows: int64 [U], impressions. By user index."""

    auc: Floats
    rows: npt.NDArray[np.int64]


def gauc(labels: npt.NDArray[np.generic], scores: npt.NDArray[np.floating], users: npt.NDArray[np.integer]) -> float:
    """Impression-weighted mean of the users' AUCs, over the users that have both classes.

    sum_u n_u AUC_u / sum_u n_u with n_u the impressions of user u, positives and negatives alike: the definition of
    MacGNN (arXiv 2401.14939) and of its released code (`cal_group_auc`), without that code's rounding to five places.
    labels [N], positive where nonzero; scores [N]; users [N], indices >= 0. nan when no user has both classes.
    """
    if len(labels) == 0:
        return float("nan")
    per_user = user_aucs(labels, scores, users, int(users.max()) + 1)
    both = ~np.isnan(per_user.auc)
    if not both.any():
        return float("nan")
    return float(np.average(per_user.auc[both], weights=per_user.rows[both]))


def user_aucs(
    labels: npt.NDArray[np.generic],
    scores: npt.NDArray[np.floating],
    users: npt.NDArray[np.integer],
    n_users: int,
) -> UserAucs:
    """AUC and impressions of every user index below `n_users`. One sort by user and score, O(N log N)."""
    order = np.lexsort((scores, users))
    user, score, positive = users[order], scores[order], labels[order].astype(bool)
    rank = midranks_of_runs(run_starts(user) | run_starts(score))

    rows = np.bincount(user, minlength=n_users)
    before_user = np.cumsum(rows) - rows
    positives = np.bincount(user[positive], minlength=n_users)
    rank_sum = np.bincount(user[positive], weights=rank[positive], minlength=n_users) - positives * before_user
    pairs = (positives * (rows - positives)).astype(np.float64)
    pairs[pairs == 0] = np.nan
    return UserAucs((rank_sum - positives * (positives + 1) / 2) / pairs, rows)
