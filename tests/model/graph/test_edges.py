"""The four products, against the toy vector and against a triple loop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.graph.edges import TwoHop, count_macro, keep_top, log_count, macro_dtype
from model.graph.grouping import node_weights

Matrix = npt.NDArray[np.float64]
# Users M, W, G; items V, P, T, B, J (mgoe.md section 2).
TOY = np.array([[1.0, 2, 3, 2, 0], [1, 5, 0, 5, 1], [0, 0, 2, 0, 1]])
TOY_ITEM_GROUPS = np.array([1, 1, 2, 2, 2], dtype=np.int32)
TOY_USER_GROUPS = np.array([1, 2, 2], dtype=np.int32)


def edges_of(scores: Matrix) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Matrix]:
    own, other = np.nonzero(scores)
    return own.astype(np.int32), other.astype(np.int32), scores[own, other]


def one_hop(scores: Matrix, group: npt.NDArray[np.int32], n_macro: int) -> Matrix:
    own, other, score = edges_of(scores)
    return count_macro(own, group[other], score, len(scores), n_macro)


def two_hop(scores: Matrix, table: Matrix, k: int, memory: int = 2**20) -> Matrix:
    own, other, score = edges_of(scores)
    return TwoHop(own, other, len(scores), table.shape[1] - 1, memory).product(score, keep_top(table, k))


def test_the_toy_vector_has_the_known_one_hop_counts() -> None:
    assert one_hop(TOY, TOY_ITEM_GROUPS, 2)[:, 1:].tolist() == [[3, 5], [6, 6], [0, 3]]


def test_theta_four_leaves_g_v_and_j_inactive_in_the_toy_vector() -> None:
    assert node_weights(TOY.sum(axis=1), 4, 0.0).tolist() == [1, 1, 0]
    assert node_weights(TOY.sum(axis=0), 4, 0.25).tolist() == [0.25, 1, 1, 1, 0.25]


def triple_loop(first: Matrix, group_of_start: npt.NDArray[np.int32], n_macro: int, *, hops: int) -> Matrix:
    """N[a, k], literally: the summed products of scores over all paths of so many hops from a into macro node k."""
    n, m = first.shape
    count = np.zeros((n, n_macro + 1))
    for a in range(n):
        for b in range(m):
            if hops == 1:
                count[a, group_of_start[b]] += first[a, b]
                continue
            for c in range(n):
                count[a, group_of_start[c]] += first[a, b] * first[c, b]
    count[:, 0] = 0
    return count


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_the_four_products_equal_a_brute_force_loop(seed: int, m: int, n: int, k: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    scores: Matrix = rng.integers(0, 4, (m, n)) * np.float64(1.0 if whole else 0.4375) * (rng.random((m, n)) < 0.6)
    users, items = (rng.integers(0, k + 1, size).astype(np.int32) for size in (m, n))
    u1, i1 = one_hop(scores, items, k), one_hop(scores.T, users, k)
    u2, i2 = two_hop(scores, i1, k), two_hop(scores.T, u1, k)
    for found, matrix, group, hops in ((u1, scores, items, 1), (i1, scores.T, users, 1)):
        assert np.array_equal(found[:, 1:], triple_loop(matrix, group, k, hops=hops)[:, 1:])
    for found, matrix, group, hops in ((u2, scores, users, 2), (i2, scores.T, items, 2)):
        assert np.array_equal(found[:, 1:], triple_loop(matrix, group, k, hops=hops)[:, 1:])


def test_two_hop_counts_hold_the_path_back_to_the_node_itself() -> None:
    alone = np.array([[2.0]])
    users = np.array([1], dtype=np.int32)
    assert two_hop(alone, one_hop(alone.T, users, 1), 1)[0, 1] == 4.0


@pytest.mark.parametrize("memory", [1, 60, 200, 2**20])
def test_a_two_hop_product_is_the_same_in_small_pieces(memory: int) -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 3, (30, 20)).astype(np.float64)
    table = rng.integers(0, 9, (20, 7)).astype(np.float64)
    assert np.array_equal(two_hop(scores, table, 6, memory), two_hop(scores, table, 6))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 14))
def test_top_k_keeps_the_largest_and_of_equals_the_first(seed: int, n_macro: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    count: Matrix = rng.integers(0, 4, (6, n_macro + 1)) * np.float64(0.7)
    kept = keep_top(count, k)
    for row in range(6):
        order = sorted(range(1, n_macro + 1), key=lambda macro: (-count[row, macro], macro))[:k]
        expected = [macro if count[row, macro] > 0 else 0 for macro in order]
        assert kept.macro[row].tolist() == expected
        np.testing.assert_allclose(kept.count[row], [count[row, macro] for macro in order], rtol=1e-6)


def test_counts_are_stored_as_half_precision_logarithms_within_a_tenth_of_a_percent() -> None:
    count = np.array([[0.0, 1.0, 1e3, 1e9]], dtype=np.float32)
    np.testing.assert_allclose(log_count(count).astype(np.float64), np.log1p(count), rtol=1e-3)


def test_macro_nodes_take_two_bytes_where_they_fit() -> None:
    assert macro_dtype(32_767) is np.int16
    assert macro_dtype(32_768) is np.int32
