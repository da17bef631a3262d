"""The four macro products, right to left, and their top-k: N_u1 = S C_I, N_u2 = S (S^T C_U), N_i1 and N_i2 alike.

Never a product of sparse matrices: one hop is a bincount over (row, macro node) cells, two hops add rows of the
other side's one-hop table. Legend: R rows, K macro nodes (column 0 = padding and cold), E edges sorted by row, k kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.macro_graph import Float16, MacroIndex

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_COLUMN_BITS = 24


def cells(row_E: Int32, macro_E: Int32, n_macro: int) -> Int64:
    """Flat index of every edge's (row, macro) cell in a table [R, n_macro + 1]."""
    cell = row_E.astype(np.int64)
    cell *= n_macro + 1
    cell += macro_E
    return cell


def count_macro(row_E: Int32, macro_E: Int32, score_E: Float64, n_rows: int, n_macro: int) -> Float64:
    """One-hop counts [R, n_macro + 1]: the summed scores of every row's edges into every macro node."""
    flat = np.bincount(cells(row_E, macro_E, n_macro), weights=score_E, minlength=n_rows * (n_macro + 1))
    return flat.reshape(n_rows, n_macro + 1).astype(np.float64, copy=False)


@dataclass(frozen=True)
class Kept:
    """Every row's largest counts. macro: [R, k], 0 = padding. count: float32 [R, k], largest first, 0 where padded."""

    macro: MacroIndex
    count: Float32


def macro_dtype(n_macro: int) -> type[np.int16] | type[np.int32]:
    """The narrower type that holds macro nodes 0..n_macro."""
    return np.int16 if n_macro < 2**15 else np.int32


def keep_top(count_RK: Float64, k: int) -> Kept:
    """Top-k of counts [R, K] whose column 0 is left out; of equal counts the smaller node first; zeros are padding.

    Non-negative floats order as their bits do, so count and column make one integer key and rows are sorted in place.
    """
    n_macro = count_RK.shape[1] - 1
    k = min(k, n_macro)
    bits = np.ascontiguousarray(count_RK[:, 1:], dtype=np.float32).view(np.int32).astype(np.int64)
    key = (bits << _COLUMN_BITS) | (n_macro - 1 - np.arange(n_macro))
    if k < n_macro:
        key = np.partition(key, n_macro - k, axis=1)[:, n_macro - k :]
    key.sort(axis=1)
    key = key[:, ::-1]
    count = np.ascontiguousarray((key >> _COLUMN_BITS).astype(np.int32)).view(np.float32)
    macro = (n_macro - (key & (2**_COLUMN_BITS - 1))).astype(macro_dtype(n_macro))
    macro[count == 0] = 0
    return Kept(macro, count)


def log_count(count: Float32) -> Float16:
    """float16 log1p of counts, as edges store them."""
    return np.log1p(count).astype(np.float16)


class TwoHop:
    """S X for a fixed set of edges and changing scores, X being the other side's kept one-hop table.

    Edges go in chunks that touch a bounded number of other nodes: the dense rows in memory stay under `memory_bytes`.
    """

    def __init__(self, row_E: Int32, other_E: Int32, n_rows: int, n_macro: int, memory_bytes: int) -> None:
        self._n_rows, self._n_macro = n_rows, n_macro
        step = max(1, memory_bytes // (8 * (n_macro + 1)))
        self._chunks = [_Chunk.of(row_E, other_E, slice(at, at + step)) for at in range(0, len(row_E), step)]

    def product(self, score_E: Float64, table: Kept) -> Float64:
        """Two-hop counts [R, n_macro + 1]. table: kept counts of all other nodes, [n_other, k]."""
        total = np.zeros((self._n_rows, self._n_macro + 1))
        for chunk in self._chunks:
            rows = np.zeros((len(chunk.others), self._n_macro + 1))
            np.put_along_axis(rows, table.macro[chunk.others].astype(np.int64), table.count[chunk.others], axis=1)
            rows[:, 0] = 0.0
            matrix = sparse.csr_array(
                (score_E[chunk.edges], chunk.column, chunk.indptr), shape=(len(chunk.indptr) - 1, len(chunk.others))
            )
            total[chunk.first : chunk.first + len(chunk.indptr) - 1] += matrix @ rows
        return total


@dataclass(frozen=True)
class _Chunk:
    """A run of edges. others: the distinct other nodes. column: [e], their position. first: the first row touched."""

    edges: slice
    others: Int64
    column: Int32
    indptr: Int32
    first: int

    @classmethod
    def of(cls, row_E: Int32, other_E: Int32, edges: slice) -> _Chunk:
        rows = row_E[edges]
        others, column = np.unique(other_E[edges], return_inverse=True)
        first, last = int(rows[0]), int(rows[-1])
        indptr = np.searchsorted(rows, np.arange(first, last + 2)).astype(np.int32)
        return cls(edges, others.astype(np.int64), column.astype(np.int32), indptr, first)
