"""The held-out rows as sessions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.data.dataset import Dataset, Interactions
from model.errors import UserError
from serving.traffic.sessions import sessions_of, shown


def with_test(dataset: Dataset, user: list[int], item: list[int], labels: list[int], request: bool = False) -> Dataset:
    """The dataset with these held-out rows; labels of the first task. request: rows of one ten of items are one."""
    n = len(user)
    tasks = len(dataset.schema.tasks)
    label = np.zeros((n, tasks), np.uint8)
    label[:, 0] = labels
    test = Interactions(
        user=np.array(user, np.int32),
        item=np.array(item, np.int32),
        time=np.arange(1000, 1000 + n),
        labels=label,
        observed=np.ones((n, tasks), np.bool_),
        context=dataset.test.context.take(slice(0, n)),
        request=np.array(item) // 10 if request else None,
    )
    return replace(dataset, test=test)


def test_every_row_of_a_user_with_a_name_is_in_one_session_and_sessions_come_in_the_logs_order(
    dataset: Dataset,
) -> None:
    user = np.where(np.arange(len(dataset.test)) % 7 == 0, 0, dataset.test.user)
    dataset = replace(dataset, test=replace(dataset.test, user=user))
    sessions = sessions_of(dataset, 5)
    assert sessions.left_out == (user == 0).sum() > 0
    assert len(sessions.rows) + sessions.left_out == len(user)
    assert sessions.rows_per_session.sum() == len(sessions.rows)
    assert 1 <= sessions.rows_per_session.min() <= sessions.rows_per_session.max() <= 5
    assert (np.diff(sessions.time_S) >= 0).all()
    for session in range(len(sessions)):
        rows = sessions.rows.take(sessions.span(session))
        assert len(set(rows.user.tolist())) == 1
        assert (np.diff(rows.time) >= 0).all()
        assert sessions.unit_S[session] == dataset.users.ids[rows.user[0]]


def test_rows_of_one_user_are_cut_at_the_longest_session(dataset: Dataset) -> None:
    sessions = sessions_of(with_test(dataset, [1, 2, 1, 1, 1], [1, 2, 3, 4, 5], [0] * 5), 3)
    assert [len(shown(sessions, place).key_n) for place in range(len(sessions))] == [3, 1, 1]


def test_a_request_of_the_log_is_a_session(dataset: Dataset) -> None:
    sessions = sessions_of(with_test(dataset, [1, 1, 1, 1], [10, 11, 20, 21], [0] * 4, request=True), 9)
    assert [shown(sessions, place).key_n.tolist() for place in range(len(sessions))] == [[10, 11], [20, 21]]


def test_an_item_that_stands_twice_is_one_candidate_with_the_labels_of_both_rows(dataset: Dataset) -> None:
    found = shown(sessions_of(with_test(dataset, [1, 1, 1], [7, 5, 7], [0, 0, 1]), 9), 0)
    assert found.key_n.tolist() == [5, 7]
    assert found.labels_nT[:, 0].tolist() == [0, 1]


def test_items_that_the_log_cannot_name_stay_candidates_of_their_own(dataset: Dataset) -> None:
    found = shown(sessions_of(with_test(dataset, [1, 1, 1], [0, 5, 0], [1, 0, 0]), 9), 0)
    assert found.key_n.tolist() == [-3, -1, 5]
    assert found.labels_nT[:, 0].tolist() == [0, 1, 0]


def test_users_whose_id_no_gateway_takes_are_left_out_and_counted(dataset: Dataset) -> None:
    ids = dataset.users.ids.astype("<U20").copy()
    ids[1] = "with space"
    made = with_test(dataset, [1, 2], [1, 2], [0, 0])
    named = replace(made, users=replace(made.users, ids=ids))
    assert (sessions_of(named, 9).unit_S, sessions_of(named, 9).left_out) == ((str(ids[2]),), 1)
    with pytest.raises(UserError, match="no held-out row"):
        sessions_of(replace(named, test=named.test.take(slice(0, 1))), 9)
