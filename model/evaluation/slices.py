"""Slices of the test rows: what is cold, who is active, which day. Legend: N rows, n users."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from model.data.dataset import Dataset
from model.evaluation.comparison import ALL

Names = npt.NDArray[np.str_]
ACTIVITY = ("activity:low", "activity:medium", "activity:high")


def slices_of(dataset: Dataset) -> dict[str, Names]:
    """Slice name of every test row, per way of slicing; names are unique over the ways.

    users, items: warm where history or the training days hold an impression of the node, else cold. activity: tertiles
    of the test users by impressions in history and training days. day: date in the log's zone.
    """
    test = dataset.test
    return {
        "users": np.where(dataset.users.seen[test.user], "users:warm", "users:cold"),
        "items": np.where(dataset.items.seen[test.item], "items:warm", "items:cold"),
        "activity": np.array(ACTIVITY)[_tertile(_impressions(dataset), test.user)],
        "day": _days(test.time, dataset.schema.interactions.time.timezone),
    }


def names_in(slices: dict[str, Names]) -> list[str]:
    """All slices that hold rows: `all`, then each way's, the tertiles from low to high and the rest by name."""
    names = [ALL]
    for way in slices.values():
        present = set(np.unique(way).tolist())
        names += [name for name in ACTIVITY if name in present] or sorted(present)
    return names


def rows_of(name: str, slices: dict[str, Names], n_rows: int) -> npt.NDArray[np.bool_]:
    """True at the rows of that slice, bool [N]."""
    if name == ALL:
        return np.ones(n_rows, dtype=np.bool_)
    inside = np.zeros(n_rows, dtype=np.bool_)
    for way in slices.values():
        inside |= way == name
    return inside


def _impressions(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Impressions of every user in history and training days, int64 [n]. Users unknown to the log count none."""
    counts = np.bincount(dataset.train.user, minlength=len(dataset.users))
    if dataset.history is not None:
        counts = counts + np.bincount(dataset.history.user, minlength=len(dataset.users))
    counts[0] = 0
    return counts


def _tertile(impressions_n: npt.NDArray[np.int64], user_N: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """0, 1 or 2 per row, [N]: a third of the distinct users each, as far as equal counts allow."""
    if len(user_N) == 0:
        return np.zeros(0, dtype=np.int64)
    bounds = np.quantile(impressions_n[np.unique(user_N)], [1 / 3, 2 / 3], method="inverted_cdf")
    return np.searchsorted(bounds, impressions_n[user_N], side="left")


def _days(time_N: npt.NDArray[np.int64], timezone: str) -> Names:
    zone = ZoneInfo(timezone)
    hours, hour_N = np.unique(time_N // 900, return_inverse=True)  # zones differ by whole quarters of an hour
    dates = [datetime.fromtimestamp(int(hour) * 900, zone).date().isoformat() for hour in hours]
    return np.array([f"day:{date}" for date in dates] or [""], dtype=np.str_)[hour_N]
