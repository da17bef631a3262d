"""Streamed points: exact distances, whatever pieces they come in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.graph.kmeans import assign
from model.graph.points import UNIT, whole_units


@pytest.mark.parametrize("width", [2, 64, 1000, 32_767])
def test_no_sum_in_a_distance_leaves_the_whole_numbers_that_float32_holds(width: int) -> None:
    """The longest gap is between opposite points; rounding adds at most half a unit to each coordinate."""
    longest = UNIT + 0.5 * np.sqrt(width)
    assert 4 * longest**2 < 2**24


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 90), st.integers(1, 40))
def test_distances_are_those_of_integer_arithmetic(seed: int, width: int, clusters: int) -> None:
    rng = np.random.default_rng(seed)
    points, centroids = (whole_units(rng.normal(size=(n, width)).astype(np.float32)) for n in (50, clusters))
    label, distance = assign(points, np.arange(50), centroids)
    gaps = ((points[:, None].astype(np.int64) - centroids.astype(np.int64)) ** 2).sum(axis=2)
    assert np.array_equal(distance, gaps.min(axis=1))
    assert np.array_equal(label, gaps.argmin(axis=1))


def test_points_without_direction_stay_zeros() -> None:
    assert not whole_units(np.zeros((2, 3), np.float32)).any()
