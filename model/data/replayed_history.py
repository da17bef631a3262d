"""History without times as rows to train on: the last rows of every user take stand-in days before the labelled part.

Only the order within a user is known, so the stand-in day of a row is how far it lies from its user's last one. A row
then reads what stood before its own stand-in day, like any other row: its label reaches nothing that scores it.
Legend: N rows of history.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from model.data.dataset import Columns, Dataset, Int32, Int64, Interactions
from model.data.schema import HistoryReplay

REPLAYED_WHOLE = (
    "history.replay takes every row of the history: no history is left before the training rows, so a macro graph is "
    "fitted on early training rows, which are then not trained on; replay fewer days or rows a day to keep some"
)
"""What is said of a log whose history was replayed to the last row."""


def replayed_whole(dataset: Dataset) -> bool:
    """Whether the log had a history of which the replay left nothing."""
    history = dataset.schema.history
    return history is not None and history.replay is not None and not (dataset.history and len(dataset.history))


def replay_history(
    history: Interactions, train: Interactions, replay: HistoryReplay, timezone: str
) -> tuple[Interactions, Interactions]:
    """What stays history, and the training rows with the replayed ones before them.

    history: sorted by user, oldest first within one. Day s (1 = the newest) holds the rows (s - 1) r to s r - 1 before
    a user's last, r = replay.rows_a_day, at noon of the s-th day before the first training row's. Older rows stay
    history, in the second before the first replayed day.
    """
    day_N = 1 + _rows_after(history.user) // replay.rows_a_day
    replayed_N = day_N <= replay.days
    noons = _noons(int(train.time.min()), replay.days, timezone)
    time_N = np.full(len(history), noons[-1] - 1, dtype=np.int64)
    time_N[replayed_N] = noons[day_N[replayed_N] - 1]
    stamped = replace(history, time=time_N)
    order = np.argsort(time_N, kind="stable")
    return stamped.take(np.flatnonzero(~replayed_N)), joined(stamped.take(order[replayed_N[order]]), train)


def joined(first: Interactions, second: Interactions) -> Interactions:
    """The rows of both. Where only the second has requests, each row of the first is one of its own, below zero."""
    request = second.request
    if request is not None:
        own = first.request if first.request is not None else -1 - np.arange(len(first), dtype=np.int64)
        request = np.concatenate([own, request])
    return Interactions(
        user=np.concatenate([first.user, second.user]),
        item=np.concatenate([first.item, second.item]),
        time=np.concatenate([first.time, second.time]),
        labels=np.concatenate([first.labels, second.labels]),
        observed=np.concatenate([first.observed, second.observed]),
        context=Columns(
            sparse=np.concatenate([first.context.sparse, second.context.sparse]),
            dense=np.concatenate([first.context.dense, second.context.dense]),
            multi=tuple(np.concatenate(codes) for codes in zip(first.context.multi, second.context.multi, strict=True)),
        ),
        request=request,
    )


def _rows_after(user_N: Int32) -> Int64:
    """How many rows of the same user follow, int64 [N]; rows of a user stand together."""
    ends = np.flatnonzero(np.append(user_N[1:] != user_N[:-1], True)) + 1
    counts = np.diff(ends, prepend=0)
    after_N: Int64 = np.repeat(ends, counts) - 1 - np.arange(len(user_N))
    return after_N


def _noons(first: int, days: int, timezone: str) -> Int64:
    """Noon of the `days` local days before the day of `first`, newest first, unix seconds."""
    zone = ZoneInfo(timezone)
    day = datetime.fromtimestamp(first, zone).date()
    noons = (datetime.combine(day - timedelta(days=back), time(12), zone) for back in range(1, days + 1))
    return np.array([int(noon.timestamp()) for noon in noons], dtype=np.int64)
