"""The two-hop products of one side: S times the other side's one-hop table, streamed over the side's blocks.

A table that fits and is not nearly empty is stored in full: a product reads that several times as fast as a sparse one.
Sums are taken in the same order, so the graph is the same.
Legend: n nodes of the other side, R rows of a block, K macro nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.edges import Kept, keep_top, keep_top_full, log_count, two_hop, two_hop_full, two_hop_strips
from model.graph.merging import Edges
from model.graph.partition import SideName, other_side
from model.graph.replay import replay
from model.graph.score_matrix import row_blocks
from model.graph.sides import Plan, SideArrays

Float32 = npt.NDArray[np.float32]
Table: TypeAlias = "sparse.csr_array | Float32"


EMPTY = 16
"""A table with less than one cell in so many is nearly empty: its sparse rows are shorter to read and to add."""


def fill_two_hop(plan: Plan, side: SideName, arrays: SideArrays, across: SideArrays) -> None:
    """hop2 of a side, for every snapshot."""
    tables = across.inner.whole()
    for batch in _batches(plan, tables):
        _fill(plan, side, arrays, _stored(plan, {number: tables[number] for number in batch}))


def _batches(plan: Plan, tables: list[sparse.csr_array]) -> Iterator[range]:
    """Snapshots whose tables are held side by side: all where they stay sparse, else as many as fit in full."""
    size = max((_full_bytes(table) for table in tables if not _nearly_empty(table)), default=0)
    fitting = plan.spending.table_bytes // max(size, 1) or len(tables)
    return (range(start, min(start + fitting, len(tables))) for start in range(0, len(tables), fitting))


def _full_bytes(table: sparse.csr_array) -> int:
    return int(table.shape[0]) * int(table.shape[1]) * 4


def _nearly_empty(table: sparse.csr_array) -> bool:
    return int(table.nnz) * EMPTY < int(table.shape[0]) * int(table.shape[1])


def _stored(plan: Plan, tables: dict[int, sparse.csr_array]) -> dict[int, Table]:
    """The tables by snapshot, in full where they fit and are not nearly empty; those share one file."""
    stored: dict[int, Table] = dict(tables)
    full = [
        number
        for number, table in tables.items()
        if not _nearly_empty(table) and _full_bytes(table) <= plan.spending.table_bytes
    ]
    if full:
        place = plan.partitions.place
        all_SnK = place.zeros((len(full), *tables[full[0]].shape), np.float32)
        for number, full_nK in zip(full, all_SnK, strict=True):
            for rows in row_blocks(len(full_nK)):
                full_nK[rows] = tables[number][rows].toarray()
            stored[number] = full_nK
            place.release()
    return stored


def _fill(plan: Plan, side: SideName, arrays: SideArrays, tables: dict[int, Table]) -> None:
    n_other, place = plan.partitions.n_nodes[other_side(side)], plan.partitions.place
    last = len(plan.as_of) - 1
    keeper = plan.keeper if last in tables else None

    def fill(number: int) -> None:
        if keeper is not None:
            keeper.begin(side, number)
        for block in plan.blocks(side, number):
            for step in replay(block, n_other, whole=True, snapshots=tables):
                if keeper is not None and step.snapshot == last:
                    keeper.keep(side, number, step.edges, block.n_rows)
                for rows, kept in _kept(plan, side, step.edges, tables[step.snapshot], block.n_rows):
                    at = (step.snapshot, slice(block.place.start + rows.start, block.place.start + rows.stop))
                    arrays.hop2.macro[at] = kept.macro
                    arrays.hop2.log_count[at] = log_count(kept.count)
            place.release()

    for _ in plan.crew.in_order(fill, plan.numbers):
        pass


def _kept(plan: Plan, side: SideName, edges: Edges, table: Table, n_rows: int) -> Iterator[tuple[slice, Kept]]:
    """The largest counts of a block's rows, strip by strip."""
    n_macro, top_k, scores = plan.n_groups[side], plan.config.top_k, plan.score_of_mask
    if isinstance(table, np.ndarray):
        height = max(1, min(n_rows, plan.spending.cells // (n_macro + 1)))
        ends = np.searchsorted(edges.own, np.arange(0, n_rows + height, height))
        for number, start in enumerate(range(0, n_rows, height)):
            rows, inside = slice(start, min(start + height, n_rows)), slice(int(ends[number]), int(ends[number + 1]))
            of_strip = Edges(edges.own[inside] - np.int32(start), edges.other[inside], edges.mask[inside])
            counts = two_hop_full(of_strip, scores, table, rows.stop - rows.start)
            yield rows, keep_top_full(counts, top_k)
        return
    for rows, of_strip in two_hop_strips(edges, table, n_rows, plan.spending.cells):
        cells = two_hop(of_strip, scores, table, rows.stop - rows.start)
        yield rows, keep_top(cells, rows.stop - rows.start, n_macro, top_k)
