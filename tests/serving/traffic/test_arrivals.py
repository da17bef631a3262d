"""When requests arrive."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from serving.traffic.arrivals import constant, logged, poisson


def test_constant_arrivals_have_equal_gaps() -> None:
    assert list(islice(constant(4.0), 3)) == pytest.approx([0.25, 0.5, 0.75])


def test_poisson_arrivals_have_exponential_gaps_of_the_rate_and_the_same_seed_gives_the_same() -> None:
    moments = np.array(list(islice(poisson(50.0, 3), 20_000)))
    gaps = np.diff(moments, prepend=0.0)
    assert (gaps > 0).all()
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)  # an exponential's deviation is its mean
    assert np.array_equal(moments, list(islice(poisson(50.0, 3), 20_000)))
    assert not np.array_equal(moments[:10], list(islice(poisson(50.0, 4), 10)))


def test_logged_arrivals_keep_the_logs_gaps_at_the_asked_speed() -> None:
    assert list(logged(np.array([100, 160, 160, 400]), 60.0)) == [0.0, 1.0, 1.0, 5.0]
    assert list(logged(np.array([], np.int64), 1.0)) == []
