"""Replaying one block of nodes through the snapshots: its events are sorted once, a step takes those before its moment.

Legend: R local rows, N events, E merged edges, S snapshots.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from model.graph.merging import Edges, PairKey, run_starts
from model.graph.partition import Shard
from model.graph.ranking import Mask

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Events of consecutive local rows, oldest first.

    own: int32 [N], row within the block. other: int32 [N]. mask, known: uint32 [N]. bounds: int64 [S + 1], the events
    of snapshot s's step are bounds[s]:bounds[s + 1]. place: the nodes [R] of the block among all nodes. merged: so many
    of the first events are pairs merged earlier and no impressions.
    """

    n_rows: int
    place: slice
    own: Int32
    other: Int32
    mask: Mask
    known: Mask
    bounds: Int64
    merged: int = 0


@dataclass(frozen=True)
class Step:
    """One snapshot of a block. events: the new ones. rows: the rows [r] whose edges they change, ascending.

    edges: all that those rows have now. last: int64 [E], place of each edge's newest positive event.
    """

    snapshot: int
    events: slice
    rows: Int64
    edges: Edges
    last: Int64


def cut_blocks(shard: Shard, as_of: tuple[int, ...], max_rows: int, max_events: int) -> Iterator[Block]:
    """The shard in blocks of at most max_rows rows and, but for a single row, max_events events.

    Blocks bound the memory of a step; their content does not depend on where they are cut.
    """
    moments = np.array(as_of, dtype=np.int64)
    row_starts = _block_rows(np.bincount(shard.own, minlength=shard.n_rows), max_rows, max_events)
    order = _by_time(shard.time)
    if len(row_starts) > 2:
        number = np.repeat(np.arange(len(row_starts) - 1, dtype=np.int32), np.diff(row_starts))[shard.own[order]]
        order = order[np.argsort(number, kind="stable")]
    reached = np.concatenate([[0], np.cumsum(np.bincount(shard.own, minlength=shard.n_rows))])
    for first, last in pairwise(row_starts.tolist()):
        events = order[reached[first] : reached[last]]
        time = shard.time[events]
        yield Block(
            n_rows=last - first,
            place=slice(shard.first + first, shard.first + last),
            own=shard.own[events] - np.int32(first),
            other=shard.other[events],
            mask=shard.mask[events],
            known=shard.known[events],
            bounds=np.concatenate([[0], np.searchsorted(time, moments)]),
            merged=int(np.searchsorted(time, shard.impressions_from)),
        )


def _by_time(time: Int64) -> Int64:
    """A stable order by time; a log that was written in order costs one look."""
    if np.all(time[1:] >= time[:-1]):
        return np.arange(len(time))
    return np.argsort(time, kind="stable")


def _block_rows(load: Int64, max_rows: int, max_events: int) -> Int64:
    """Where blocks begin, and the end; every row is in one."""
    reached = np.cumsum(load)
    starts = [0]
    while starts[-1] < len(load):
        row = starts[-1]
        before = int(reached[row - 1]) if row else 0
        enough = int(np.searchsorted(reached, before + max_events, side="right"))
        starts.append(min(max(enough, row + 1), row + max_rows, len(load)))
    return np.array(starts, dtype=np.int64)


def replay(
    block: Block, n_other: int, *, whole: bool = False, snapshots: Container[int] | None = None
) -> Iterator[Step]:
    """The block's steps in order of time. whole: every step has the edges of all rows, touched or not. snapshots: those
    of these alone."""
    positive = np.flatnonzero((block.mask != 0) & (block.other != 0))
    layout = PairKey.of(block.n_rows, n_other, len(block.own) + 1)
    key = layout.pack(block.own[positive], block.other[positive], positive)
    key.sort()
    placed, own = layout.low_of(key), layout.own_of(layout.pair(key))
    for snapshot in range(len(block.bounds) - 1):
        if snapshots is not None and snapshot not in snapshots:
            continue
        events = slice(int(block.bounds[snapshot]), int(block.bounds[snapshot + 1]))
        touched = np.full(block.n_rows, whole)
        touched[
            block.own[positive[np.searchsorted(positive, events.start) : np.searchsorted(positive, events.stop)]]
        ] = True
        wanted = np.flatnonzero((placed < events.stop) & touched[own])
        pair, at = layout.pair(key[wanted]), placed[wanted]
        first = run_starts(pair)
        newest = at[np.append(first[1:], len(at)) - 1] if len(first) else at
        mask = np.bitwise_or.reduceat(block.mask[at], first) if len(first) else block.mask[at]
        edges = Edges(layout.own_of(pair[first]), layout.other_of(pair[first]), mask)
        yield Step(snapshot, events, np.flatnonzero(touched), edges, newest)
