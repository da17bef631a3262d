from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from model.data.schema import Split
from model.data.split import cut, day_boundaries
from model.data.time_counts import TimeCounts
from model.errors import UserError

DAY = 86_400


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_moments_are_read_in_the_zone_of_the_log() -> None:
    split = Split(validate_from=at("2022-05-04"), test_from=at("2022-05-06"))
    time = np.array([1651593599, 1651593600, 1651766399, 1651766400])
    parts = cut(TimeCounts.of(time), split, "Asia/Shanghai").parts(time)
    assert parts["train"].tolist() == [True, False, False, False]
    assert parts["validate"].tolist() == [False, True, True, False]
    assert parts["test"].tolist() == [False, False, False, True]


def test_rows_before_train_from_and_from_until_on_belong_to_no_part() -> None:
    split = Split(
        train_from=at("1970-01-02"), validate_from=at("1970-01-03"), test_from=at("1970-01-04"), until=at("1970-01-05")
    )
    time = np.arange(6) * DAY
    parts = cut(TimeCounts.of(time), split, "UTC").parts(time)
    assert [np.flatnonzero(rows).tolist() for rows in parts.values()] == [[1], [2], [3]]


@given(st.lists(st.integers(0, 30), min_size=30, max_size=200), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_fractions_cut_by_time_and_never_between_rows_of_equal_time(
    times: list[int], validate: float, test: float
) -> None:
    time = np.array(times)
    try:
        parts = cut(TimeCounts.of(time), Split(validate_fraction=validate, test_fraction=test), "UTC").parts(time)
    except UserError:
        reject()  # too few distinct times for three parts
    assert (np.stack(list(parts.values())).sum(axis=0) == 1).all()
    train, validate_rows, test_rows = (time[rows] for rows in parts.values())
    assert train.max() < validate_rows.min()
    assert validate_rows.max() < test_rows.min()


def test_fractions_of_distinct_times_are_met() -> None:
    time = np.arange(100)
    parts = cut(TimeCounts.of(time), Split(validate_fraction=0.1, test_fraction=0.2), "UTC").parts(time)
    assert [int(rows.sum()) for rows in parts.values()] == [70, 10, 20]


def test_an_empty_part_is_named_with_the_span_of_the_log() -> None:
    split = Split(validate_from=at("1970-01-05"), test_from=at("1970-01-09"))
    with pytest.raises(UserError, match=r"test is empty.*1970-01-01 00:00:00.*1970-01-06 00:00:00"):
        cut(TimeCounts.of(np.arange(6) * DAY), split, "UTC")


def test_a_log_without_rows_cannot_be_split() -> None:
    with pytest.raises(UserError, match="no rows"):
        cut(TimeCounts(), Split(), "UTC")


def test_day_boundaries_are_the_first_moment_and_every_later_midnight_of_the_zone() -> None:
    first, last = 1650812741, 1651000000
    assert day_boundaries(first, last, "Asia/Shanghai").tolist() == [first, 1650816000, 1650902400, 1650988800]


def test_a_day_of_23_hours_has_its_own_midnights() -> None:
    spring = int(datetime.fromisoformat("2024-03-31T00:00:00+01:00").timestamp())
    assert np.diff(day_boundaries(spring, spring + 2 * DAY, "Europe/Berlin")).tolist() == [23 * 3600, DAY]
