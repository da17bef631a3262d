import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics.calibration import calibration_ratio, equal_mass_bins, expected_calibration_error, reliability


def test_a_forecast_that_says_the_observed_rate_is_calibrated() -> None:
    labels = np.tile([1, 0, 0, 0], 50)
    scores = np.full(200, 0.25)
    assert expected_calibration_error(labels, scores) == pytest.approx(0)
    assert calibration_ratio(labels, scores) == pytest.approx(1)


def test_a_forecast_that_promises_double_is_off_by_the_rate() -> None:
    labels = np.tile([1, 0, 0, 0], 50)
    scores = np.full(200, 0.5)
    assert expected_calibration_error(labels, scores) == pytest.approx(0.25)
    assert calibration_ratio(labels, scores) == pytest.approx(2)


def test_bins_without_ties_hold_equally_many_rows() -> None:
    bins = equal_mass_bins(np.random.default_rng(0).permutation(90) / 90, 9)
    assert np.bincount(bins).tolist() == [10] * 9


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(2, 10))
def test_equal_predictions_share_a_bin_and_bins_rise_with_them(values: list[int], bins: int) -> None:
    scores = np.array(values, dtype=np.float64)
    bin_of = equal_mass_bins(scores, bins)
    assert bin_of.min() >= 0
    assert bin_of.max() < bins
    for value in set(values):
        assert len(set(bin_of[scores == value].tolist())) == 1
    order = np.argsort(scores, kind="stable")
    assert (np.diff(bin_of[order]) >= 0).all()


def test_the_bins_account_for_every_row_and_every_positive() -> None:
    random = np.random.default_rng(1)
    scores = random.random(1000)
    labels = random.random(1000) < scores
    bins = reliability(labels, scores, 7)
    assert bins.rows.sum() == 1000
    assert (bins.observed * bins.rows).sum() == pytest.approx(labels.sum())
    assert (bins.predicted * bins.rows).sum() == pytest.approx(scores.sum())


def test_without_rows_or_positives_there_is_nothing_to_tell() -> None:
    assert math.isnan(expected_calibration_error(np.zeros(0), np.zeros(0)))
    assert math.isnan(calibration_ratio(np.zeros(3), np.full(3, 0.1)))
