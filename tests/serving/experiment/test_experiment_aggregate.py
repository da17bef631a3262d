"""Aggregates: merging in any order gives what all rows at once give; bad documents are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.experiment.aggregate import Aggregate, CrossAggregate
from serving.experiment.document import ExperimentError

NAMES = ("value", "denominator")
rows = hnp.arrays(np.float64, st.tuples(st.integers(0, 12), st.just(2)), elements=st.floats(-1e3, 1e3, width=32))


def _same(one: Aggregate, other: Aggregate) -> None:
    assert one.count == other.count
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.m2, other.m2, rtol=1e-9, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(rows, rows, rows)
def test_merging_is_the_aggregate_of_all_rows_in_any_order(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    one, two, three = (Aggregate.of(NAMES, part) for part in (a, b, c))
    whole = Aggregate.of(NAMES, np.concatenate([a, b, c]))
    _same(one.merge(two).merge(three), whole)
    _same(one.merge(two.merge(three)), whole)
    _same(three.merge(one).merge(two), whole)


def test_nothing_merged_with_nothing_is_nothing() -> None:
    empty = Aggregate.empty(NAMES)
    assert empty.merge(empty).count == 0


def test_aggregates_of_different_columns_do_not_merge() -> None:
    with pytest.raises(ExperimentError, match="do not merge"):
        Aggregate.empty(NAMES).merge(Aggregate.empty(("value",)))


def test_an_aggregate_reads_as_it_was_written() -> None:
    found = Aggregate.of(NAMES, np.arange(8.0).reshape(4, 2))
    again = Aggregate.from_json(json.loads(json.dumps(found.to_json())))
    assert again.to_json() == found.to_json()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": -1}, "-1 units"),
        ({"count": 1.5}, "1.5 is no whole number"),
        ({"mean": [1.0]}, "are not"),
        ({"mean": [1.0, float("nan")]}, "not finite"),
        ({"mean": [1.0, None]}, "no list of numbers"),
        ({"mean": "12"}, "no list of numbers"),
        ({"m2": [[1.0], [1.0, 2.0]]}, "ragged"),
        ({"m2": [[-1.0, 0.0], [0.0, 1.0]]}, "below 0"),
        ({"names": ["value", 3]}, "no column's name"),
        ({"names": "value"}, "is no list"),
        ({"more": 1}, "no field 'more'"),
    ],
)
def test_a_wrong_aggregate_is_refused_in_words(change: dict[str, object], said: str) -> None:
    document = {**Aggregate.of(NAMES, np.ones((3, 2))).to_json(), **change}
    with pytest.raises(ExperimentError, match=said):
        Aggregate.from_json(document)


def _cross() -> dict[str, object]:
    return CrossAggregate((0, 1), "baseline", (1, 4), "candidate", 2, np.ones(2), np.ones(2), np.ones((2, 2))).to_json()


def test_a_cross_aggregate_reads_as_it_was_written() -> None:
    assert CrossAggregate.from_json(json.loads(json.dumps(_cross()))).to_json() == _cross()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stratum_b": [0, 1]}, "rising order"),
        ({"stratum_a": [0, "1"]}, r"no \[phase, slice\]"),
        ({"stratum_a": 3}, r"no \[phase, slice\]"),
        ({"arm_a": "both"}, "neither baseline nor candidate"),
        ({"sums_b": [1.0]}, "different numbers of columns"),
        ({"count": -2}, "-2 units"),
        ({"products": [[1.0, 2.0], [3.0, float("nan")]]}, "not finite"),
    ],
)
def test_a_wrong_cross_aggregate_is_refused_in_words(change: dict[str, object], said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        CrossAggregate.from_json({**_cross(), **change})
