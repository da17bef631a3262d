import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from model.metrics.auc import auc

Pairs = Sequence[tuple[int, int]]
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-20, 20)), min_size=2, max_size=60).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


def _arrays(pairs: Pairs) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    labels, scores = zip(*pairs, strict=True)
    return np.array(labels, dtype=np.uint8), np.array(scores, dtype=np.float32)


@given(rows)
def test_auc_agrees_with_sklearn_ties_included(pairs: Pairs) -> None:
    labels, scores = _arrays(pairs)
    assert math.isclose(auc(labels, scores), roc_auc_score(labels, scores), abs_tol=1e-12)


@given(rows)
def test_a_monotone_map_of_the_scores_leaves_auc_alone(pairs: Pairs) -> None:
    labels, scores = _arrays(pairs)
    assert auc(labels, scores) == auc(labels, np.exp(scores.astype(np.float64) / 10) * 3 + 1)


@given(rows)
def test_negated_scores_mirror_auc_about_one_half(pairs: Pairs) -> None:
    labels, scores = _arrays(pairs)
    assert math.isclose(auc(labels, scores) + auc(labels, -scores), 1.0, abs_tol=1e-12)


@given(rows)
def test_swapped_labels_mirror_auc_about_one_half(pairs: Pairs) -> None:
    labels, scores = _arrays(pairs)
    assert math.isclose(auc(labels, scores) + auc(1 - labels, scores), 1.0, abs_tol=1e-12)


def test_auc_of_a_single_class_is_nan() -> None:
    assert math.isnan(auc(np.ones(3, dtype=np.uint8), np.array([0.1, 0.2, 0.3])))
    assert math.isnan(auc(np.zeros(3, dtype=np.uint8), np.array([0.1, 0.2, 0.3])))


def test_auc_of_nothing_is_nan() -> None:
    assert math.isnan(auc(np.zeros(0, dtype=np.uint8), np.zeros(0)))
