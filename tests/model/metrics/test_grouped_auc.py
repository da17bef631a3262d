import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from model.metrics.grouped_auc import gauc, user_aucs

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=80)


def _by_loop(labels: list[int], scores: list[int], users: list[int]) -> float:
    """MacGNN's definition, user by user."""
    total = weight = 0.0
    for user in set(users):
        own = [i for i, other in enumerate(users) if other == user]
        truth = [labels[i] for i in own]
        if len(set(truth)) == 2:
            total += len(own) * roc_auc_score(truth, [scores[i] for i in own])
            weight += len(own)
    return total / weight if weight else math.nan


@given(rows)
def test_gauc_is_the_impression_weighted_mean_over_users_with_both_classes(data: list[tuple[int, int, int]]) -> None:
    labels, scores, users = map(list, zip(*data, strict=True))
    got = gauc(np.array(labels), np.array(scores, dtype=np.float32), np.array(users))
    assert got == pytest.approx(_by_loop(labels, scores, users), abs=1e-12, nan_ok=True)


def test_a_user_with_one_class_has_no_auc_but_keeps_its_impressions() -> None:
    per_user = user_aucs(np.array([1, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 2, 2]), 4)
    assert per_user.rows.tolist() == [2, 0, 2, 0]
    assert np.isnan(per_user.auc[[0, 1, 3]]).all()
    assert per_user.auc[2] == 1.0


def test_a_shift_of_one_users_scores_leaves_gauc_alone() -> None:
    random = np.random.default_rng(0)
    labels, scores, users = random.integers(0, 2, 200), random.random(200), random.integers(0, 9, 200)
    shifted = scores + 5.0 * (users == 3)
    assert gauc(labels, shifted, users) == pytest.approx(gauc(labels, scores, users), abs=1e-12)
