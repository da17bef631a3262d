"""Counts of seconds stand for the times themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import time_counts
from model.data.time_counts import TimeCounts

TIMES = st.lists(st.lists(st.integers(-5, 40), max_size=30), max_size=6)


@given(TIMES, st.integers(-6, 41), st.integers(-6, 41), st.integers(1, 50))
def test_counts_of_batches_are_those_of_all_times(
    batches: list[list[int]], start: int, stop: int, waiting: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_counts, "_WAITING", waiting)
        counts = TimeCounts()
        for batch in batches:
            counts.add(np.array(batch, dtype=np.int64))
    times = np.sort(np.array([time for batch in batches for time in batch], dtype=np.int64))
    assert len(counts) == len(times)
    assert counts.seconds.tolist() == sorted(set(times.tolist()))
    assert [counts.nth(place) for place in range(len(times))] == times.tolist()
    assert len(counts.within(start, stop)) == ((times >= start) & (times < stop)).sum()
