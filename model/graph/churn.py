"""How far a grouping moved against a previous one, whose groups are matched to its own by the Hungarian method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from model.errors import UserError

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Churn:
    """compared: nodes grouped in both. moved: the share of them outside their group's match. match: previous -> now."""

    compared: int
    moved: float
    match: dict[int, int]


def churn(previous: Int32, now: Int32) -> Churn:
    """Groups [n] of the same node table, 0 = cold. Raises UserError where the tables differ in size."""
    if len(previous) != len(now):
        raise UserError(f"churn: {len(previous)} nodes against {len(now)}; both graphs must come from the same log")
    both = (previous > 0) & (now > 0)
    before, after = previous[both], now[both]
    if len(before) == 0:
        return Churn(0, 0.0, {})
    width = int(after.max()) + 1
    shared = np.bincount(before.astype(np.int64) * width + after, minlength=(int(before.max()) + 1) * width)
    table = shared.reshape(-1, width)
    rows, columns = linear_sum_assignment(table, maximize=True)
    match = {int(r): int(c) for r, c in zip(rows, columns, strict=True) if table[r, c] > 0}
    return Churn(len(before), 1.0 - float(table[rows, columns].sum()) / len(before), match)
