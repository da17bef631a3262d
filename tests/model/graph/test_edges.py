"""The four products, against the toy vector and against a triple loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from model.graph.edges import (
    STRIP_ROWS,
    Cells,
    count_cells,
    count_macro,
    keep_top,
    keep_top_full,
    log_count,
    macro_dtype,
    two_hop,
    two_hop_full,
)
from model.graph.grouping import node_weights
from model.graph.merging import Edges, merge

Matrix = npt.NDArray[np.float64]
# Users M, W, G; items V, P, T, B, J (mgoe.md section 2).
TOY = np.array([[1.0, 2, 3, 2, 0], [1, 5, 0, 5, 1], [0, 0, 2, 0, 1]])
TOY_ITEM_GROUPS = np.array([1, 1, 2, 2, 2], dtype=np.int32)
TOY_USER_GROUPS = np.array([1, 2, 2], dtype=np.int32)


def edges_of(scores: Matrix) -> tuple[Edges, Matrix]:
    """Edges whose masks number the distinct scores, and the score of every mask (a power of two of them)."""
    own, other = np.nonzero(scores)
    values, mask = np.unique(scores[own, other], return_inverse=True)
    score_of_mask = np.zeros(16)
    score_of_mask[1 : len(values) + 1] = values
    return Edges(own.astype(np.int32), other.astype(np.int32), (mask + 1).astype(np.uint32)), score_of_mask


def dense(cells: Cells, n_rows: int, n_macro: int) -> Matrix:
    table = np.zeros((n_rows, n_macro + 1))
    table[cells.row, cells.macro] = cells.count
    return table


def as_cells(table: Matrix) -> Cells:
    row, macro = np.nonzero(table)
    return Cells(row[macro > 0], macro[macro > 0], table[row, macro][macro > 0])


def one_hop_of(scores: Matrix, group: npt.NDArray[np.int32], n_macro: int) -> Matrix:
    edges, score_of_mask = edges_of(scores)
    table = count_macro(edges, group, score_of_mask, len(scores), n_macro)
    cells = count_cells(edges, group, score_of_mask, len(scores), n_macro)
    assert np.array_equal(dense(cells, len(scores), n_macro)[:, 1:], table[:, 1:])
    return table


def two_hop_of(scores: Matrix, table: Matrix) -> Matrix:
    edges, score_of_mask = edges_of(scores)
    inner = sparse.csr_array(np.where(np.arange(table.shape[1]) > 0, table, 0).astype(np.float32))
    return dense(two_hop(edges, score_of_mask, inner, len(scores)), len(scores), table.shape[1] - 1)


def test_the_toy_vector_has_the_known_one_hop_counts() -> None:
    assert one_hop_of(TOY, TOY_ITEM_GROUPS, 2)[:, 1:].tolist() == [[3, 5], [6, 6], [0, 3]]


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
    u1, i1 = one_hop_of(scores, items, k), one_hop_of(scores.T, users, k)
    u2, i2 = two_hop_of(scores, i1), two_hop_of(scores.T, u1)
    for found, matrix, group, hops in ((u1, scores, items, 1), (i1, scores.T, users, 1)):
        assert np.array_equal(found[:, 1:], triple_loop(matrix, group, k, hops=hops)[:, 1:])
    for found, matrix, group, hops in ((u2, scores, users, 2), (i2, scores.T, items, 2)):
        assert np.array_equal(found[:, 1:], triple_loop(matrix, group, k, hops=hops)[:, 1:])


def test_two_hop_counts_hold_the_path_back_to_the_node_itself() -> None:
    alone = np.array([[2.0]])
    users = np.array([1], dtype=np.int32)
    assert two_hop_of(alone, one_hop_of(alone.T, users, 1))[0, 1] == 4.0


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 14), st.sampled_from([0.05, 0.9]))
def test_top_k_keeps_the_largest_and_of_equals_the_first(seed: int, n_macro: int, k: int, filled: float) -> None:
    rng = np.random.default_rng(seed)
    rows = STRIP_ROWS + 6 if seed % 10 == 0 else 6
    count: Matrix = rng.integers(1, 4, (rows, n_macro + 1)) * np.float64(0.7)
    count *= rng.random(count.shape) < filled
    kept = keep_top(as_cells(count), rows, n_macro, k)
    for row in range(rows):
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


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([np.int32, np.int64]))
def test_the_two_hop_product_is_the_public_sparse_product(seed: int, index: type[np.signedinteger[Any]]) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_other, n_macro, n_edges = (int(rng.integers(1, most)) for most in (20, 30, 9, 200))
    own, other = (rng.integers(0, n, n_edges).astype(np.int32) for n in (n_rows, n_other))
    edges = merge(own, np.maximum(other, 1), rng.integers(0, 4, n_edges).astype(np.uint32), n_other + 1)
    dense = np.where(rng.random((n_other + 1, n_macro + 1)) < 0.3, rng.random((n_other + 1, n_macro + 1)), 0)
    table = sparse.csr_array(dense.astype(np.float32))
    table.indptr, table.indices = table.indptr.astype(index), table.indices.astype(index)
    score = np.array([0.0, 1.0, 1.5, 2.25])
    cells = two_hop(edges, score, table, n_rows)
    matrix = sparse.csr_array(
        (score[edges.mask].astype(np.float32), (edges.own, edges.other)), shape=(n_rows, n_other + 1)
    )
    found = np.zeros((n_rows, n_macro + 1), np.float32)
    found[cells.row, cells.macro] = cells.count
    assert np.array_equal(found, (matrix @ table).toarray())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_a_two_hop_product_with_a_full_table_keeps_what_one_with_a_sparse_table_keeps(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n_rows, n_other, n_macro, n_edges = (int(rng.integers(1, most)) for most in (1200, 30, 9, 4000))
    own, other = (rng.integers(0, n, n_edges).astype(np.int32) for n in (n_rows, n_other))
    edges = merge(own, np.maximum(other, 1), rng.integers(0, 4, n_edges).astype(np.uint32), n_other + 1)
    full = np.where(rng.random((n_other + 1, n_macro + 1)) < 0.4, rng.random((n_other + 1, n_macro + 1)), 0)
    full[:, 0] = 0
    table, score = full.astype(np.float32), np.array([0.0, 1.0, 1.3, 2.7])
    wanted = keep_top(two_hop(edges, score, sparse.csr_array(table), n_rows), n_rows, n_macro, k)
    found = keep_top_full(two_hop_full(edges, score, table, n_rows), k)
    assert found.macro.dtype == wanted.macro.dtype
    assert np.array_equal(found.macro, wanted.macro)
    assert np.array_equal(found.count, wanted.count)
