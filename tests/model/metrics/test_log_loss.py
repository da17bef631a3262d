import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference

from model.metrics.log_loss import log_loss


def test_log_loss_agrees_with_sklearn() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 500), random.uniform(0.01, 0.99, 500).astype(np.float32)
    assert log_loss(labels, scores) == pytest.approx(reference(labels, scores), abs=1e-6)


def test_certain_and_wrong_costs_much_but_not_infinity() -> None:
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-math.log(1e-7))


def test_log_loss_of_nothing_is_nan() -> None:
    assert math.isnan(log_loss(np.zeros(0), np.zeros(0)))
