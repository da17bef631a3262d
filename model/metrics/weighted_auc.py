"""AUC under user weights, prepared once for many weightings (bootstrap replicates): one sort, then O(N) each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class WeightedAuc:
    """AUC of rows that each count as often as their user's weight says; weight 2 is the row written twice.

    positive_user, negative_user: user index of the positive and negative rows, by rising score.
    below, through: negatives that score less than each positive, and those that score no more.
    """

    positive_user: Int32
    negative_user: Int32
    below: Int32
    through: Int32

    @classmethod
    def of(
        cls, labels: npt.NDArray[np.generic], scores: npt.NDArray[np.floating], users: npt.NDArray[np.integer]
    ) -> WeightedAuc:
        """labels [N], positive where nonzero; scores [N]; users [N], indices into the weights."""
        order = np.argsort(scores, kind="stable")
        positive = labels[order].astype(bool)
        score, user = scores[order], users[order].astype(np.int32)
        negative_score = score[~positive]
        return cls(
            positive_user=user[positive],
            negative_user=user[~positive],
            below=np.searchsorted(negative_score, score[positive], side="left").astype(np.int32),
            through=np.searchsorted(negative_score, score[positive], side="right").astype(np.int32),
        )

    def __call__(self, weight_U: Int32) -> float:
        """AUC at user weights int32 [U], their sum over the rows below 2^30; nan when a class has no weight."""
        passed = np.empty(len(self.negative_user) + 1, dtype=np.int32)  # weight of the lowest j negatives
        passed[0] = 0
        np.cumsum(weight_U[self.negative_user], dtype=np.int32, out=passed[1:])
        weight = weight_U[self.positive_user].astype(np.float64)
        pairs = float(weight.sum()) * float(passed[-1])
        if pairs == 0:
            return float("nan")
        # einsum, not @: BLAS would start threads for vectors this short, and wait for them longer than it computes.
        won = np.einsum("p,p->", weight, passed[self.below] + passed[self.through])
        return float(won) / 2 / pairs
