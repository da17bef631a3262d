"""Replaying one block of nodes through the snapshots: each step adds what lies between two moments, nothing is rebuilt.

Legend: R local rows, N events, E merged edges, S snapshots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from model.graph.merging import pair_key, split_key
from model.graph.partition import Shard
from model.graph.ranking import Mask

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Events of consecutive local rows, oldest first, and the pairs that ever become edges.

    own: int32 [N], row within the block. other: int32 [N]. mask, known: uint32 [N]. bounds: int64 [S + 1], the events
    of snapshot s's step are bounds[s]:bounds[s + 1]. edge_own, edge_other: int32 [E], sorted. edge_of: int64 [N], -1
    where an event makes no edge. place: the nodes [R] of the block among all nodes.
    """

    n_rows: int
    place: slice
    own: Int32
    other: Int32
    mask: Mask
    known: Mask
    bounds: Int64
    edge_own: Int32
    edge_other: Int32
    edge_of: Int64


@dataclass(frozen=True)
class Step:
    """One snapshot of a block. events: the new ones. touched: the edges that they change. before: old masks of those.

    mask: uint32 [E], masks now (0 = not yet an edge); it is reused by the next step.
    """

    snapshot: int
    events: slice
    touched: Int64
    before: Mask
    mask: Mask


def cut_blocks(shard: Shard, n_other: int, as_of: tuple[int, ...], max_rows: int) -> Iterator[Block]:
    """The shard in blocks of at most max_rows rows, without events of the unknown node or past the last moment."""
    moments = np.array(as_of, dtype=np.int64)
    order = np.flatnonzero((shard.time < moments[-1]) & ~shard.is_unknown)
    order = order[np.argsort(shard.time[order], kind="stable")]
    if shard.n_rows > max_rows:
        order = order[np.argsort(shard.own[order] // max_rows, kind="stable")]
    starts = np.searchsorted(shard.own[order] // max_rows, np.arange(-(-shard.n_rows // max_rows) + 1))
    for number, (start, stop) in enumerate(pairwise(starts)):
        first = number * max_rows
        yield _block(shard, order[start:stop], range(first, min(first + max_rows, shard.n_rows)), n_other, moments)


def _block(shard: Shard, events: Int64, rows: range, n_other: int, moments: Int64) -> Block:
    start, stop = (shard.number + row * shard.shards for row in (rows.start, rows.stop))
    own, other, mask = shard.own[events] - np.int32(rows.start), shard.other[events], shard.mask[events]
    is_edge = (mask != 0) & (other != 0)
    pairs, where = np.unique(pair_key(own[is_edge], other[is_edge], n_other), return_inverse=True)
    edge_own, edge_other = split_key(pairs, n_other)
    edge_of = np.full(len(own), -1, dtype=np.int64)
    edge_of[is_edge] = where
    bounds = np.concatenate([[0], np.searchsorted(shard.time[events], moments)])
    return Block(
        n_rows=len(rows),
        place=slice(start, stop - shard.shards + 1, shard.shards),
        own=own,
        other=other,
        mask=mask,
        known=shard.known[events],
        bounds=bounds,
        edge_own=edge_own,
        edge_other=edge_other,
        edge_of=edge_of,
    )


def replay(block: Block) -> Iterator[Step]:
    """The block's steps in order of time. A new bit on a pair changes its score by lut[new] - lut[old] and no more."""
    mask = np.zeros(len(block.edge_own), dtype=np.uint32)
    for snapshot in range(len(block.bounds) - 1):
        events = slice(int(block.bounds[snapshot]), int(block.bounds[snapshot + 1]))
        edge = block.edge_of[events]
        positive = edge >= 0
        touched = np.unique(edge[positive])
        before = mask[touched]
        np.bitwise_or.at(mask, edge[positive], block.mask[events][positive])
        yield Step(snapshot, events, touched, before, mask)
