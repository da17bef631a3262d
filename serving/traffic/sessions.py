"""The held-out rows of a log as sessions: what one user was shown together. Pure.

A session is a request of the log where the log has requests, else consecutive rows of one user, at most `longest` of
them. An item that stands in it twice is one candidate, with every label that either row has.
Legend: S sessions, R rows, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.data.dataset import Columns, Dataset, Interactions
from model.errors import UserError
from serving.gateway.assignment import check_unit
from serving.traffic.click_model import Bool, Float64, Int64, UInt8, positive_share


@dataclass(frozen=True)
class Sessions:
    """rows: sorted by session. bounds_S1: int64 [S + 1], where each begins. unit_S: user ids. time_S: of the first row.

    shown_n: how often each item was shown, by node index; row 0 is 0.
    """

    tasks: tuple[str, ...]
    rows: Interactions
    bounds_S1: Int64
    user_S: Int64
    unit_S: tuple[str, ...]
    time_S: Int64
    item_ids: tuple[str, ...]
    shown_n: Int64
    share_T: Float64
    left_out: int
    """Rows of users whom the log knows by no id, or whose id no gateway takes."""

    def __len__(self) -> int:
        return len(self.unit_S)

    @property
    def rows_per_session(self) -> Int64:
        """Rows of each session: drawn by them, users come in proportion to their logged activity."""
        return np.diff(self.bounds_S1)

    def span(self, session: int) -> slice:
        """The session's rows."""
        return slice(int(self.bounds_S1[session]), int(self.bounds_S1[session + 1]))


@dataclass(frozen=True)
class Shown:
    """Distinct items of a session: key_n, their rows' labels [n, T] and observed [n, T], context and time of the first.

    key_n: int64, the node index. Items that the log knows by no id (they came after training) are told apart by
    negative keys: no model knows them either, so they are scored as new items, as they were in evaluation.
    """

    key_n: Int64
    labels_nT: UInt8
    observed_nT: Bool
    context: Columns
    time: int


def sessions_of(dataset: Dataset, longest: int) -> Sessions:
    """Sessions of the test rows. Raises UserError where no row is left."""
    test, ids = dataset.test, dataset.users.ids
    known_N = test.user > 0
    sendable_n = np.zeros(len(ids), dtype=np.bool_)
    for user in np.unique(test.user[known_N]):
        sendable_n[user] = _is_sendable(str(ids[user]))
    kept = np.flatnonzero(known_N & sendable_n[test.user])
    if not len(kept):
        raise UserError(f"log {dataset.schema.name}: no held-out row is of a user who can be named to the gateway")
    rows = test.take(kept)
    order, group_R = _grouped(rows, longest)
    rows = rows.take(order)
    starts = np.flatnonzero(np.diff(group_R, prepend=-1))
    by_time = np.argsort(rows.time[starts], kind="stable")
    bounds = np.append(starts, len(rows))
    places = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in by_time])
    rows = rows.take(places)
    bounds_S1 = np.concatenate([[0], np.cumsum(np.diff(bounds)[by_time])]).astype(np.int64)
    first = bounds_S1[:-1]
    user_S = rows.user[first].astype(np.int64)
    return Sessions(
        tasks=dataset.schema.task_names,
        rows=rows,
        bounds_S1=bounds_S1,
        user_S=user_S,
        unit_S=tuple(str(ids[user]) for user in user_S),
        time_S=rows.time[first],
        item_ids=tuple(str(raw) for raw in dataset.items.ids),
        shown_n=np.where(np.arange(len(dataset.items)) > 0, np.bincount(test.item, minlength=len(dataset.items)), 0),
        share_T=positive_share(rows.labels, rows.observed),
        left_out=len(test) - len(rows),
    )


def shown(sessions: Sessions, session: int) -> Shown:
    """The distinct items of a session, in the order of their keys."""
    rows = sessions.rows.take(sessions.span(session))
    key_R = np.where(rows.item > 0, rows.item.astype(np.int64), -1 - np.arange(len(rows)))
    key_n, place_R = np.unique(key_R, return_inverse=True)
    labels = np.zeros((len(key_n), rows.labels.shape[1]), np.uint8)
    observed = np.zeros(labels.shape, np.bool_)
    np.maximum.at(labels, place_R, rows.labels)
    np.logical_or.at(observed, place_R, rows.observed)
    return Shown(key_n, labels, observed, rows.context, int(rows.time[0]))


def _grouped(rows: Interactions, longest: int) -> tuple[Int64, Int64]:
    """The order that puts each session's rows together, and each row's session in it, ascending from 0."""
    time = np.arange(len(rows))
    key = rows.user.astype(np.int64) if rows.request is None else rows.request
    order = np.lexsort((time, key, rows.user))
    new = np.zeros(len(order), np.bool_)
    new[0] = True
    for column in (rows.user[order], key[order]):
        new[1:] |= column[1:] != column[:-1]
    start = np.maximum.accumulate(np.where(new, time, 0))
    new |= (time - start) % longest == 0
    return order, np.cumsum(new) - 1


def _is_sendable(unit: str) -> bool:
    try:
        check_unit(unit)
    except UserError:
        return False
    return True
