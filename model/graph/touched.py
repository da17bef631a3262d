"""One hop of the nodes that a day gives an edge, on top of a side as it was before the day.

Legend: n nodes of a side, R rows of a block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.graph.day_shards import edges_before
from model.graph.grown import carry_over
from model.graph.macro_graph import Side
from model.graph.merging import Edges
from model.graph.partition import SideName, other_side
from model.graph.replay import Block, replay
from model.graph.sides import ChangingRows, Plan, SideArrays, degrees_of, write_degrees

Array = npt.NDArray[np.generic]
Int64 = npt.NDArray[np.int64]


def renewed_where_touched(plan: Plan, side: SideName, before: Side) -> SideArrays:
    """The side as it was, and on it one hop of the nodes that the day gives an edge; degrees of all."""
    arrays = SideArrays(plan, side)
    for array, old in _stacked(arrays, before):
        for snapshot in range(len(plan.as_of)):
            carry_over(old, array[snapshot], plan.partitions.place)

    def fill(number: int) -> None:
        if plan.keeper is not None:
            plan.keeper.begin(side, number)
        for block in plan.blocks(side, number):
            _touched_block(plan, side, arrays, number, block)

    for _ in plan.crew.in_order(fill, plan.numbers):
        pass
    return arrays


def _touched_block(plan: Plan, side: SideName, arrays: SideArrays, number: int, block: Block) -> None:
    if plan.keeper is None or plan.before is None:
        raise RuntimeError("an update goes on from a state and keeps one")
    touched = np.unique(block.own[(block.mask != 0) & (block.other != 0)]).astype(np.int64)
    degrees, rows = degrees_of(plan, side, block), ChangingRows(plan, side, block)
    pairs = edges_before(plan.before, side, block.place.start, block.place.stop)
    for step in replay(block, plan.partitions.n_nodes[other_side(side)], whole=True):
        degrees.add(step)
        rows.renew(step)
        rows.write(arrays, step.snapshot, touched)
        write_degrees(arrays, (step.snapshot, block.place), degrees)
        if step.snapshot == len(plan.as_of) - 1:
            plan.keeper.keep(side, number, _spliced(pairs, step.edges, touched, block.n_rows), block.n_rows)
            plan.keeper.count(side, block.place, degrees.exposure_R, degrees.positive_RT)


def _spliced(pairs: Edges, renewed: Edges, touched: Int64, n_rows: int) -> Edges:
    """The pairs with those of touched rows replaced; a row is wholly of one of both."""
    is_touched = np.zeros(n_rows, np.bool_)
    is_touched[touched] = True
    kept = np.flatnonzero(~is_touched[pairs.own])
    own = np.concatenate([pairs.own[kept], renewed.own])
    order = np.argsort(own, kind="stable")
    other, mask = (np.concatenate([getattr(pairs, n)[kept], getattr(renewed, n)])[order] for n in ("other", "mask"))
    return Edges(own[order], other, mask)


def _stacked(arrays: SideArrays, side: Side) -> list[tuple[Array, Array]]:
    """The arrays of all snapshots beside the side's own; degrees are written for every node anyway."""
    pairs: list[tuple[Array, Array]] = [
        (arrays.hop1.macro, side.hop1.macro),
        (arrays.hop1.log_count, side.hop1.log_count),
        (arrays.hop2.macro, side.hop2.macro),
        (arrays.hop2.log_count, side.hop2.log_count),
        (arrays.dominant, side.dominant),
        (arrays.recent, side.recent),
        (arrays.recent_score, side.recent_score),
    ]
    if arrays.task_log_count is not None and side.task_log_count is not None:
        pairs.append((arrays.task_log_count, side.task_log_count))
    return pairs
