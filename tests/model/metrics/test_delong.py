import math

import numpy as np
import numpy.typing as npt
import pytest

from model.metrics.auc import auc
from model.metrics.delong import delong, delong_covariance, paired_delong

Floats = npt.NDArray[np.float64]


def _rows(seed: int, n: int = 60, ties: bool = True) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    a, b = (labels * lift + random.normal(size=n) for lift in (0.8, 1.2))
    return (labels, np.round(a, 1), np.round(b, 1)) if ties else (labels, a, b)


def _by_definition(labels: npt.NDArray[np.int64], scores: Floats) -> tuple[Floats, Floats]:
    """Structural components from all pairs (DeLong 1988, eq. 4 and 5)."""
    wins = np.array(
        [[1.0 if p > q else 0.5 if p == q else 0.0 for q in scores[labels == 0]] for p in scores[labels == 1]]
    )
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_covariance_is_that_of_all_pairs(seed: int) -> None:
    labels, a, b = _rows(seed)
    aucs, covariance = delong_covariance(labels, np.stack([a, b]))
    parts = [_by_definition(labels, scores) for scores in (a, b)]
    expected = sum(np.cov(np.stack([part[side] for part in parts])) / len(parts[0][side]) for side in (0, 1))
    assert covariance == pytest.approx(expected, abs=1e-12)
    assert aucs == pytest.approx([auc(labels, a), auc(labels, b)], abs=1e-12)


def test_a_model_against_itself_differs_by_nothing_for_certain() -> None:
    labels, a, _ = _rows(1)
    same = paired_delong(labels, a, a)
    assert (same.value, same.lower, same.upper) == pytest.approx((0, 0, 0), abs=1e-7)


def test_swapping_the_models_mirrors_the_interval() -> None:
    labels, a, b = _rows(2)
    forth, back = paired_delong(labels, a, b), paired_delong(labels, b, a)
    assert (forth.lower, forth.upper) == pytest.approx((-back.upper, -back.lower))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth = 0.5 * (1 + math.erf(0.8 / 2))  # P(N(0.8, 1) > N(0, 1))
    covered = 0
    for seed in range(400):
        labels, a, _ = _rows(seed, n=200, ties=False)
        estimate = delong(labels, a)
        covered += estimate.lower <= truth <= estimate.upper
    assert 0.92 <= covered / 400 <= 0.98


def test_one_positive_alone_has_no_variance() -> None:
    assert math.isnan(delong(np.array([1, 0, 0]), np.array([0.3, 0.2, 0.1])).lower)
