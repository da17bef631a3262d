"""Moments and the leakage rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.data.time_counts import TimeCounts
from model.errors import UserError
from model.graph.config import GraphConfig
from model.graph.events import Span
from model.graph.snapshots import moments_of
from tests.model.graph.logs import DAY, START

SPAN = Span(
    has_history=True,
    train_from=START + 100,
    validate_from=START + 4 * DAY,
    end=START + 6 * DAY,
    timezone="Asia/Shanghai",
)
TIMES = TimeCounts.of(np.arange(START, START + 4 * DAY, 60))


def test_daily_snapshots_stand_at_the_first_row_and_at_local_midnights() -> None:
    found = moments_of(SPAN, TIMES, GraphConfig(snapshots="daily"))
    assert found.as_of == (START + 100, *(START + day * DAY for day in range(1, 6)))


def test_local_days_follow_daylight_saving_time() -> None:
    spring = 1_648_249_200  # 2022-03-26 00:00 in Berlin; the night after has 23 hours
    span = Span(False, spring, spring + 3 * DAY, spring + 3 * DAY, "Europe/Berlin")
    found = moments_of(span, TimeCounts.of(np.arange(spring, spring + 2 * DAY, 60)), GraphConfig(snapshots="daily"))
    assert np.diff(found.as_of).tolist() == [DAY, DAY - 3600, DAY]


def test_single_takes_history_for_training_rows_and_everything_before_validation_for_the_rest() -> None:
    found = moments_of(SPAN, TIMES, GraphConfig())
    assert found.as_of == (SPAN.train_from, SPAN.validate_from)
    assert found.fit_cut == found.trainable_from == SPAN.train_from


def test_without_history_only_rows_after_the_fit_cut_may_be_trained_on() -> None:
    found = moments_of(replace(SPAN, has_history=False), TIMES, GraphConfig(fit_quantile=0.5))
    assert found.as_of == (found.fit_cut, SPAN.validate_from)
    assert found.trainable_from == found.fit_cut
    assert abs(found.fit_cut - (START + 2 * DAY)) <= 60


def test_the_fit_cut_is_a_quantile_of_rows_however_they_are_chunked() -> None:
    rng = np.random.default_rng(0)
    times = START + rng.integers(0, 50, 999)
    span = replace(SPAN, has_history=False, train_from=START)
    merged = TimeCounts()
    for part in np.array_split(times, 7):
        merged.merge(TimeCounts.of(part))
    whole = moments_of(span, TimeCounts.of(times), GraphConfig(fit_quantile=0.3))
    chunked = moments_of(span, merged, GraphConfig(fit_quantile=0.3))
    assert whole == chunked
    assert np.mean(times < whole.fit_cut) >= 0.3 > np.mean(times < whole.fit_cut - 1)


def test_rows_of_validation_and_test_do_not_move_the_fit_cut() -> None:
    span = replace(SPAN, has_history=False)
    later = np.arange(span.validate_from, span.end, 7)
    config = GraphConfig(fit_quantile=0.5)
    both = TimeCounts.of(later)
    both.merge(TIMES)
    assert moments_of(span, TIMES, config) == moments_of(span, both, config)


def test_a_fit_cut_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match=r"fit_quantile=1.0: .* use a lower one"):
        moments_of(
            replace(SPAN, has_history=False, validate_from=START + 4 * DAY - 59), TIMES, GraphConfig(fit_quantile=1)
        )


def test_an_unknown_timezone_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'Mars/Olympus' is no IANA zone"):
        moments_of(replace(SPAN, timezone="Mars/Olympus"), TIMES, GraphConfig(snapshots="daily"))
