"""Means over a node's impressions, and over its positives, of what the nodes at their other end are like: one hop that
keeps magnitudes.

The softmax over macro edges says where a node's positives lie, not how often they happen; and the merged graph holds
no impression without a positive, though what a system chose to show says much of a user. A node is described by its
smoothed rate per task and its exposure; the mean over neighbours is SIGN's first hop (Frasca et al., 2020) over
impressions.
Legend: n nodes of the other side, R rows of a block, T tasks, C = T + 1 columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.data.rates import centred_logit
from model.graph.ranking import FIXED_POINT
from model.graph.replay import Block

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

PRIOR_NEIGHBOURS = 2.0
"""Average neighbours that every mean is mixed with."""


def describe(log_degree_nT: Float32, known_nT: Int32, log_exposure_n: Float32) -> Float64:
    """[n, C] of one side at one moment: logits of smoothed rates, then log1p of impressions, each minus the average.

    log_degree_nT: log1p of positives. known_nT: impressions whose label is known. The average of the exposure is taken
    over impressions. Row 0 and nodes never met are 0, which is the average.
    """
    positive_nT = np.rint(np.expm1(log_degree_nT.astype(np.float64)))
    exposure_n = np.rint(np.expm1(log_exposure_n.astype(np.float64)))
    exposure_n[0] = 0.0
    average = float(exposure_n @ log_exposure_n) / max(float(exposure_n.sum()), 1.0)
    columns = [
        centred_logit(known_n, positive_n)
        for known_n, positive_n in zip(known_nT.T.astype(np.float64), positive_nT.T, strict=True)
    ]
    columns.append(np.where(exposure_n > 0, log_exposure_n - average, 0.0))
    described_nC = np.stack(columns, axis=1)
    described_nC[0] = 0.0
    # Multiples of a fixed grain: their sums do not depend on the order of rows.
    return np.asarray(np.round(described_nC / FIXED_POINT) * FIXED_POINT)


def mean_of_neighbours(block: Block, snapshot: int, described_nC: Float64, score_of_mask: Float64) -> Float32:
    """[R, 2 C]: means over all impressions of a row before the snapshot, then over its positives by merging score.

    Repeated impressions count; unknown partners are left out.
    """
    before = np.flatnonzero(block.other[: int(block.bounds[snapshot + 1])])
    own, other = block.own[before], block.other[before]
    columns: list[Float64] = []
    for weight in (np.ones(len(before)), score_of_mask[block.mask[before]]):
        total_R = np.bincount(own, weights=weight, minlength=block.n_rows) + PRIOR_NEIGHBOURS
        sums = [np.bincount(own, weights=weight * c_n[other], minlength=block.n_rows) for c_n in described_nC.T]
        columns += [sum_R / total_R for sum_R in sums]
    return np.stack(columns, axis=1).astype(np.float32)
