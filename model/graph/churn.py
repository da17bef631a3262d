"""How far a grouping moved against a previous one, whose groups are matched to its own by the Hungarian method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from model.errors import UserError

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Churn:
    """compared: nodes grouped in both. moved: the share of them outside their group's match. weighted: that share by
    weight, where nodes have any. match: previous -> now."""

    compared: int
    moved: float
    weighted: float
    match: dict[int, int]


def churn(previous: Int32, now: Int32, weight: Float64 | None = None) -> Churn:
    """Groups [n] of the same node table, 0 = cold. weight: of every node [n], such as its score degree.

    Raises UserError where the tables differ in size.
    """
    if len(previous) != len(now):
        raise UserError(f"churn: {len(previous)} nodes against {len(now)}; both graphs must come from the same log")
    both = (previous > 0) & (now > 0)
    before, after = previous[both], now[both]
    if len(before) == 0:
        return Churn(0, 0.0, 0.0, {})
    match = _matched(_overlap(before, after, int(before.max()) + 1, int(after.max()) + 1))
    goes_to = np.zeros(int(before.max()) + 1, np.int32)
    goes_to[list(match)] = list(match.values())
    moved = goes_to[before] != after
    share = float(np.mean(moved))
    if weight is None or (whole := float(weight[both].sum())) <= 0:
        return Churn(len(before), share, share, match)
    return Churn(len(before), share, float(weight[both][moved].sum()) / whole, match)


def with_previous_ids(previous: Int32, now: Int32, n_groups: int) -> Int32:
    """The groups `now` [n] under the ids of the previous groups that they share most nodes with, one each.

    previous: of the first nodes; the others were in no group. Ids are 1 to n_groups in both.
    """
    both = (previous > 0) & (now[: len(previous)] > 0)
    table = _overlap(previous[both], now[: len(previous)][both], n_groups + 1, n_groups + 1)
    before, after = linear_sum_assignment(table[1:, 1:], maximize=True)
    renamed = np.zeros(n_groups + 1, np.int32)
    renamed[after + 1] = before + 1
    return renamed[now]


def _overlap(before: Int32, after: Int32, n_before: int, n_after: int) -> Int64:
    """Nodes in each pair of groups, [n_before, n_after]."""
    shared = np.bincount(before.astype(np.int64) * n_after + after, minlength=n_before * n_after)
    return shared.reshape(n_before, n_after)


def _matched(table: Int64) -> dict[int, int]:
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if table[r, c] > 0}
