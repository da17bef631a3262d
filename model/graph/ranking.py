"""The merging preference score s of a (user, item) pair: MGOE (arXiv 2506.10520) eq. (6) over T-bit task masks.

Bit t of a mask is set where the pair has a positive of task t. Everything about scores is a table of 2^T entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.errors import UserError

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.uint32]
Rank = Literal["additive", "binary", "union"]

MAX_TASKS = 16
FIXED_POINT = 2.0**-24
"""Grain of the scores that are summed: sums of its multiples are exact in float64 up to 2^29, so order is nothing."""


def mask_of(labels: npt.NDArray[np.uint8], observed: npt.NDArray[np.bool_]) -> Mask:
    """Task masks [N] of labels [N, T]; an unobserved label sets no bit."""
    tasks = labels.shape[1]
    mask = np.zeros(len(labels), dtype=np.uint32)
    for task in range(tasks):
        mask |= ((labels[:, task] != 0) & observed[:, task]).astype(np.uint32) << np.uint32(task)
    return mask


def known_of(observed: npt.NDArray[np.bool_]) -> Mask:
    """Masks [N] of the tasks whose labels are observed, from observed [N, T]."""
    known = np.zeros(len(observed), dtype=np.uint32)
    for task in range(observed.shape[1]):
        known |= observed[:, task].astype(np.uint32) << np.uint32(task)
    return known


def rank_table(levels: Sequence[int], rank: Rank) -> Int64:
    """rho of every mask, [2^T]; rho(empty) = 0.

    additive: the sum of task levels. binary: sum of 2^(t-1) (POGCN, KDD'24), with tied levels as digits of a mixed
    radix: rho = sum_l c_l * prod_{k<l} (n_k + 1). union: 1 for any positive.
    """
    if not 1 <= len(levels) <= MAX_TASKS:
        raise UserError(f"the graph merges 1 to {MAX_TASKS} tasks, not {len(levels)}")
    bits: Int64 = (np.arange(2 ** len(levels))[:, None] >> np.arange(len(levels))) & 1
    worth = _digit_worth(levels) if rank == "binary" else np.asarray(levels, dtype=np.int64)
    rho: Int64 = np.dot(bits, worth)
    return np.minimum(rho, 1) if rank == "union" else rho


def _digit_worth(levels: Sequence[int]) -> Int64:
    """Value of one task of each level: prod over lower levels k of (n_k + 1)."""
    level = np.asarray(levels)
    distinct, counts = np.unique(level, return_counts=True)
    worth = np.concatenate([[1], np.cumprod(counts + 1)[:-1]])
    per_task: Int64 = worth[np.searchsorted(distinct, level)]
    return per_task


def box_cox(rho: npt.NDArray[np.int64], beta: float) -> Float64:
    """Eq. (6): ((rho + 1)^beta - 1) / beta, ln(rho + 1) at beta = 0; stable around it, exact at beta = 1."""
    if beta == 1.0:
        return rho.astype(np.float64)
    log_rank = np.log1p(rho.astype(np.float64))
    exponent = beta * log_rank
    with np.errstate(over="raise"):
        try:
            grown = np.expm1(exponent)
        except FloatingPointError:
            raise UserError(
                f"beta={beta} overflows eq. (6) at rank {int(rho.max())}: use a beta within -1..2"
            ) from None
    ratio = np.divide(grown, exponent, out=np.ones_like(exponent), where=exponent != 0)
    return log_rank * ratio


def score_table(levels: Sequence[int], rank: Rank, beta: float) -> Float64:
    """s of every mask, [2^T], eq. (6)."""
    return box_cox(rank_table(levels, rank), beta)


def summable(scores: Float64) -> Float64:
    """The scores rounded to FIXED_POINT, so that rows, days and shards may be added in any order."""
    return np.round(scores / FIXED_POINT) * FIXED_POINT
