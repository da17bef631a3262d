"""The axis of all charts: round ticks in a unit that fits, whatever the length of a run."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.console.time_axis import TimeAxis
from serving.console.words import ago, duration, moment


@given(st.floats(0, 4e9), st.floats(0, 1e8))
def test_ticks_rise_inside_the_axis_and_are_few(start: float, length: float) -> None:
    axis = TimeAxis(start, start + length)
    places = [place for place, _ in axis.ticks]
    assert 1 <= len(places) <= 8
    assert all(0 <= place <= axis.span[1] * 1.000001 for place in places)
    assert all(one < other for one, other in itertools.pairwise(places))


@pytest.mark.parametrize(
    ("length", "labels", "unit"),
    [
        (40, ["0", "10", "20", "30", "40"], "seconds"),
        (600, ["0", "2", "4", "6", "8", "10"], "minutes"),
        (3 * 3600, ["0", "30", "60", "90", "120", "150", "180"], "minutes"),
        (14 * 86_400, ["0", "2", "4", "6", "8", "10", "12", "14"], "days"),
    ],
)
def test_the_unit_fits_the_run(length: float, labels: list[str], unit: str) -> None:
    axis = TimeAxis(0, length)
    assert [label for _, label in axis.ticks] == labels
    assert axis.label == f"{unit} since the run began"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (90, "90 seconds"), (150, "2.5 minutes"), (7200, "2 hours"), (1e6, "12 days")],
)
def test_a_span_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_moments_that_are_none_are_a_dash() -> None:
    assert [moment(each) for each in (None, float("nan"), -1.0, 1e300)] == ["–"] * 4
    assert moment(0.0) == "1970-01-01 00:00:00 UTC"
    assert (ago(1.0), ago(30.0)) == ("just now", "30 seconds ago")
