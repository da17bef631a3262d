"""Means over a node's impressions, and over its positives, of what the nodes at their other end are like: one hop that
keeps magnitudes.

The softmax over macro edges says where a node's positives lie, not how often they happen; and the merged graph holds
no impression without a positive, though what a system chose to show says much of a user. A node is described by its
smoothed rate per task and its exposure; the mean over neighbours is SIGN's first hop (Frasca et al., 2020) over
impressions.
Legend: n nodes of the other side, R rows of a block or of a strip of nodes, T tasks, C = T + 1 columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.data.mapped_pages import drop_pages
from model.data.rates import centred_logits, global_rate
from model.graph.ranking import FIXED_POINT
from model.graph.replay import Block
from model.graph.score_matrix import row_blocks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

PRIOR_NEIGHBOURS = 2.0
"""Average neighbours that every mean is mixed with."""


@dataclass(frozen=True)
class Averages:
    """Of one side at one moment. rate_T: of every task, over all nodes. exposure: log1p of impressions, over them."""

    rate_T: Float64
    exposure: float

    @classmethod
    def of(cls, log_degree_nT: Float32, known_nT: Int32, log_exposure_n: Float32) -> Averages:
        """Counts are summed exactly, in any pieces; log exposures go by blocks of nodes that no shard decides."""
        positive_T, known_T = (np.zeros(known_nT.shape[1]) for _ in range(2))
        exposures, weighted = 0.0, 0.0
        for rows in row_blocks(len(known_nT)):
            positive_T += _counts(log_degree_nT[rows]).sum(axis=0)
            known_T += known_nT[rows].sum(axis=0)
            exposure_R = _counts(log_exposure_n[rows])
            exposure_R[: 1 if rows.start == 0 else 0] = 0.0
            exposures += float(exposure_R.sum())
            weighted += float(exposure_R @ log_exposure_n[rows])
            for array in (log_degree_nT, known_nT, log_exposure_n):
                drop_pages(array)
        return cls(global_rate(known_T, positive_T), weighted / max(exposures, 1.0))


def describe(
    averages: Averages, log_degree_RT: Float32, known_RT: Int32, log_exposure_R: Float32, *, first: bool
) -> Float64:
    """[R, C] of rows of one side at one moment: logits of smoothed rates, then log1p of impressions, each minus the
    average.

    log_degree_RT: log1p of positives. known_RT: impressions whose label is known. first: whether the rows begin with
    row 0, which is 0 like every node that was never met: the average.
    """
    columns = [
        centred_logits(known_R, positive_R, float(rate))
        for known_R, positive_R, rate in zip(
            known_RT.T.astype(np.float64), _counts(log_degree_RT).T, averages.rate_T, strict=True
        )
    ]
    columns.append(np.where(log_exposure_R > 0, log_exposure_R - averages.exposure, 0.0))
    described_RC = np.stack(columns, axis=1)
    described_RC[: int(first)] = 0.0
    # Multiples of a fixed grain: their sums do not depend on the order of rows.
    return np.asarray(np.round(described_RC / FIXED_POINT) * FIXED_POINT)


def _counts(log_count: Float32) -> Float64:
    """The whole numbers that log1p was taken of."""
    return np.asarray(np.rint(np.expm1(log_count.astype(np.float64))))


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
