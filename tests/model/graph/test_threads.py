"""Work in threads."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.graph.threads import in_order


@settings(max_examples=20)
@given(st.lists(st.integers(0, 100), max_size=20), st.integers(1, 4))
def test_results_come_in_the_order_of_items(items: list[int], threads: int) -> None:
    assert list(in_order(threads, lambda item: item * item, items)) == [item * item for item in items]


def test_no_more_results_are_made_than_threads_before_the_first_is_taken() -> None:
    made: list[int] = []
    results = in_order(2, made.append, range(10))
    next(results)
    assert 1 <= len(made) <= 3  # the one that was taken and two ahead of it
    assert len(list(results)) == 9


def test_an_error_of_the_work_reaches_the_caller_and_nothing_runs_on() -> None:
    def work(item: int) -> int:
        if item == 1:
            raise ValueError("item 1")
        return item

    results = in_order(3, work, range(6))
    assert next(results) == 0
    with pytest.raises(ValueError, match="item 1"):
        list(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
