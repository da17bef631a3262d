"""What the learning curve says of the best point and of patience."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import UserError
from model.training.curve import Evaluation, best_of, measure, out_of_patience


def point(step: int, mean_auc: float | None, log_loss: float = 1.0) -> Evaluation:
    return Evaluation(
        step=step,
        epoch=step,
        train_loss=1.0,
        auc={},
        mean_auc=mean_auc,
        log_loss=log_loss,
        rows_per_second=1.0,
        seconds=1.0,
        learning_rate=0.1,
    )


def test_the_earliest_of_equal_bests_is_kept() -> None:
    curve = [point(1, 0.6), point(2, 0.7), point(3, 0.7), point(4, 0.65)]
    assert best_of(curve, "mean_auc") == 1
    assert out_of_patience(curve, "mean_auc", 2)
    assert not out_of_patience(curve, "mean_auc", 3)


def test_log_loss_is_better_when_smaller() -> None:
    assert best_of([point(1, 0.9, 0.5), point(2, 0.1, 0.4)], "log_loss") == 1


def test_an_empty_curve_is_not_out_of_patience() -> None:
    assert not out_of_patience([], "mean_auc", 1)


def test_only_observed_cells_are_measured() -> None:
    labels = np.array([[1, 1], [0, 1], [1, 0], [0, 1]], np.uint8)
    observed = np.array([[True, True], [True, True], [False, False], [True, False]])
    scores = np.array([[0.9, 0.5], [0.1, 0.5], [0.0, 0.5], [0.2, 0.5]], np.float32)
    auc, mean, log_loss = measure(("a", "b"), (1.0, 0.5), labels, observed, scores)
    assert auc == {"a": 1.0, "b": None}  # b holds one class only among its observed cells
    assert mean == 1.0
    expected = -np.mean(np.log([0.9, 0.9, 0.8])) - 0.5 * np.log(0.5)
    assert log_loss == pytest.approx(expected, rel=1e-5)


def test_a_validation_slice_of_one_class_cannot_be_ranked() -> None:
    with pytest.raises(UserError, match="no task has both classes"):
        best_of([point(1, None)], "mean_auc")
