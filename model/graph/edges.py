"""The four macro products, right to left, and their top-k: N_u1 = S C_I, N_u2 = S (S^T C_U), N_i1 and N_i2 alike.

Counts are kept sparse, as cells: their cost follows the edges, not the number of macro nodes.
Legend: R rows, K macro nodes (0 = padding and cold), E edges sorted by row, C cells, T tasks, k kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import _sparsetools

from model.errors import UserError
from model.graph.macro_graph import Float16, MacroIndex
from model.graph.merging import STRIP, Edges, PairKey, run_starts

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_COUNT_BITS = 31
_DENSE = 8
"""Rows are dense where more than one in so many of their cells is filled."""
STRIP_ROWS, STRIP_CELLS = 512, 1 << 17
"""A dense strip has at most so many rows, and cells unless a row has more."""


def count_macro(edges: Edges, group: Int32, score_of_mask: Float64, n_rows: int, n_macro: int) -> Float64:
    """One-hop counts as a dense table [R, n_macro + 1]: the summed scores of every row's edges into every macro node.

    group: macro node of every other node. For tables that fit in memory; `count_cells` is its sparse form.
    """
    cell, score = np.empty(len(edges), np.int64), np.empty(len(edges))
    for start in range(0, len(edges), STRIP):
        at = slice(start, start + STRIP)
        strip = edges.own[at].astype(np.int64)
        strip *= n_macro + 1
        strip += group.take(edges.other[at])
        cell[at], score[at] = strip, score_of_mask.take(edges.mask[at])
    flat = np.bincount(cell, weights=score, minlength=n_rows * (n_macro + 1))
    return flat.reshape(n_rows, n_macro + 1).astype(np.float64, copy=False)


@dataclass(frozen=True)
class Cells:
    """What is not zero in a table of rows and macro nodes, sorted by (row, macro) or by row alone; macro node 0 is left
    out. row, macro: int64 [C]. count: float [C]. by_task: int32 [T, C], the edges of each task, where asked for."""

    row: Int64
    macro: Int64
    count: Float32 | Float64
    by_task: Int32 | None = None


def count_cells(edges: Edges, group: Int32, score_of_mask: Float64, n_rows: int, n_macro: int) -> Cells:
    """One-hop counts, and the plain A_t C of every task beside them. group: macro node of every other node."""
    macro = group.take(edges.other)
    real = np.flatnonzero(macro)
    layout = PairKey.of(n_rows, n_macro + 1, len(score_of_mask))
    key = layout.pack(edges.own[real], macro[real], edges.mask[real])
    key.sort()
    pair, of_edge = layout.pair(key), layout.low_of(key)
    first = run_starts(pair)
    n_tasks = len(score_of_mask).bit_length() - 1
    if len(first) == 0:
        nothing = np.zeros(0, np.int64)
        return Cells(nothing, nothing, np.zeros(0), np.zeros((n_tasks, 0), np.int32))
    by_task = np.empty((n_tasks, len(first)), np.int32)
    for task in range(n_tasks):
        by_task[task] = np.add.reduceat((of_edge >> task) & 1, first)
    count = np.add.reduceat(score_of_mask.take(of_edge), first)
    cell = pair[first]
    return Cells(layout.own_of(cell).astype(np.int64), layout.other_of(cell).astype(np.int64), count, by_task)


def two_hop(edges: Edges, score_of_mask: Float64, table: sparse.csr_array, n_rows: int) -> Cells:
    """S X of a block's edges, X = table being the other side's kept one-hop counts: CSR float32 [n_other, K + 1].

    Every row is summed over ascending other nodes, so blocks change nothing.
    """
    index = table.indices.dtype
    ends = np.searchsorted(edges.own, np.arange(n_rows + 1)).astype(index)
    score = score_of_mask.take(edges.mask).astype(np.float32)
    column = edges.other.astype(index, copy=False)
    summands = table.indptr[column + 1] - table.indptr[column]
    reached = np.concatenate([[0], np.cumsum(summands, dtype=np.int64)])[ends]
    most = int(np.minimum(np.diff(reached), table.shape[1]).sum())
    row_ends, macro, count = np.empty(n_rows + 1, index), np.empty(most, index), np.empty(most, np.float32)
    # What `@` calls, without its first pass over all summands that only counts cells: a third of the product's time.
    _sparsetools.csr_matmat(
        n_rows, table.shape[1], ends, column, score, table.indptr, table.indices, table.data, row_ends, macro, count
    )
    row, found = np.repeat(np.arange(n_rows), np.diff(row_ends)), int(row_ends[-1])
    return Cells(row, macro[:found].astype(np.int64), count[:found])


def two_hop_full(edges: Edges, score_of_mask: Float64, table_nK: Float32, n_rows: int) -> Float32:
    """S X as `two_hop` sums it, of a table that is stored in full: [R, K + 1]. Several times as fast where it fits."""
    ends = np.searchsorted(edges.own, np.arange(n_rows + 1))
    score = score_of_mask.take(edges.mask).astype(np.float32)
    return np.asarray(sparse.csr_array((score, edges.other, ends), shape=(n_rows, len(table_nK))) @ table_nK)


def two_hop_strips(edges: Edges, table: sparse.csr_array, n_rows: int, cells: int) -> Iterator[tuple[slice, Edges]]:
    """A block's rows in strips whose two-hop products have at most `cells` cells (but a single row's), and the strip's
    edges, its rows counted from the strip's first."""
    ends = np.searchsorted(edges.own, np.arange(n_rows + 1))
    summands = np.concatenate(
        [[0], np.cumsum(table.indptr[edges.other + 1] - table.indptr[edges.other], dtype=np.int64)]
    )
    reached = np.cumsum(np.minimum(np.diff(summands[ends]), table.shape[1]))
    start = 0
    while start < n_rows:
        before = int(reached[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(reached, before + cells, side="right")))
        of_strip = slice(int(ends[start]), int(ends[stop]))
        own = edges.own[of_strip] - np.int32(start)
        yield slice(start, stop), Edges(own, edges.other[of_strip], edges.mask[of_strip])
        start = stop


@dataclass(frozen=True)
class Kept:
    """Every row's largest counts. macro: [R, k], 0 = padding. count: float32 [R, k], largest first, 0 where padded."""

    macro: MacroIndex
    count: Float32


def macro_dtype(n_macro: int) -> type[np.int16] | type[np.int32]:
    """The narrower type that holds macro nodes 0..n_macro."""
    return np.int16 if n_macro < 2**15 else np.int32


def keep_top(cells: Cells, n_rows: int, n_macro: int, k: int) -> Kept:
    """Top-k of every row; of equal counts the smaller node first.

    Non-negative floats order as their bits do, so count and macro node make one integer key. Full rows are sorted side
    by side in a dense strip, sparse ones in one piece with the row in front of the key: each is several times as fast
    as the other where it is used.
    """
    k = min(k, n_macro)
    if n_rows.bit_length() + _COUNT_BITS + n_macro.bit_length() > 63:
        raise UserError(f"{n_rows} rows of {n_macro} macro nodes exceed one block's keys: use fewer groups")
    macro: MacroIndex = np.zeros((n_rows, k), np.int16) if n_macro < 2**15 else np.zeros((n_rows, k), np.int32)
    kept = Kept(macro, np.zeros((n_rows, k), np.float32))
    bits = cells.count.astype(np.float32, copy=False).view(np.int32)
    if len(bits) * _DENSE > n_rows * n_macro:
        _top_of_strips(cells, bits, n_macro, kept)
    else:
        _top_of_cells(cells, bits, n_macro, kept)
    return kept


def keep_top_full(count_RK: Float32, k: int) -> Kept:
    """As `keep_top`, of counts that are stored in full: [R, K + 1], column 0 left out."""
    n_rows, n_macro = len(count_RK), count_RK.shape[1] - 1
    macro_bits, k = n_macro.bit_length(), min(k, n_macro)
    macro: MacroIndex = np.zeros((n_rows, k), np.int16) if n_macro < 2**15 else np.zeros((n_rows, k), np.int32)
    kept = Kept(macro, np.zeros((n_rows, k), np.float32))
    order = n_macro - np.arange(1, n_macro + 1)
    for start in range(0, n_rows, STRIP_ROWS):
        rows = slice(start, min(start + STRIP_ROWS, n_rows))
        key = count_RK[rows].view(np.int32)[:, 1:].astype(np.int64)
        key <<= macro_bits
        key |= order
        _keep_largest(key, kept, rows)
    return kept


def _keep_largest(key: Int64, kept: Kept, rows: slice) -> None:
    """key: [r, K], bits of the count above the macro node's distance from the last one; it is sorted in place."""
    n_macro, k = key.shape[1], kept.macro.shape[1]
    macro_bits = n_macro.bit_length()
    key.sort(axis=1)
    top = key[:, : -k - 1 : -1]
    count = (top >> macro_bits).astype(np.int32)
    kept.macro[rows] = np.where(count > 0, n_macro - (top & (2**macro_bits - 1)), 0)
    kept.count[rows] = count.view(np.float32)


def _top_of_strips(cells: Cells, bits: Int32, n_macro: int, kept: Kept) -> None:
    n_rows, macro_bits = len(kept.macro), n_macro.bit_length()
    strip_rows = max(1, min(STRIP_ROWS, STRIP_CELLS // n_macro))
    for start in range(0, n_rows, strip_rows):
        rows = slice(start, min(start + strip_rows, n_rows))
        of_strip = slice(*np.searchsorted(cells.row, (rows.start, rows.stop)))
        key = np.zeros((rows.stop - rows.start, n_macro), np.int64)
        macro = cells.macro[of_strip]
        key[cells.row[of_strip] - start, macro - 1] = bits[of_strip].astype(np.int64) << macro_bits | (n_macro - macro)
        _keep_largest(key, kept, rows)


def _top_of_cells(cells: Cells, bits: Int32, n_macro: int, kept: Kept) -> None:
    k, macro_bits = kept.macro.shape[1], n_macro.bit_length()
    key = cells.row << _COUNT_BITS | (2**_COUNT_BITS - 1 - bits)
    key = (key << macro_bits | cells.macro)[bits > 0]
    key.sort()
    row = key >> (_COUNT_BITS + macro_bits)
    rank = rank_in_run(row)
    top = np.flatnonzero(rank < k)
    place = row[top] * k + rank[top]
    kept.macro.reshape(-1)[place] = key[top] & (2**macro_bits - 1)
    count = 2**_COUNT_BITS - 1 - ((key[top] >> macro_bits) & (2**_COUNT_BITS - 1))
    kept.count.reshape(-1)[place] = count.astype(np.int32).view(np.float32)


def rank_in_run(ordered: Int64) -> Int64:
    """Place of every element within its run of equal values, from 0."""
    first = run_starts(ordered)
    return np.arange(len(ordered)) - np.repeat(first, np.diff(np.append(first, len(ordered))))


def log_count(count: Float32) -> Float16:
    """float16 log1p of counts, as edges store them."""
    return np.log1p(count).astype(np.float16)
