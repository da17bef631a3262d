"""Merging: all events of a (user, item) pair become one edge, its mask the OR of theirs (C_ui is a set of tasks)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import UserError
from model.graph.ranking import MAX_TASKS, Mask

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """Merged pairs with at least one positive, sorted by (own, other). own, other: int32 [E]. mask: uint32 [E]."""

    own: Int32
    other: Int32
    mask: Mask

    def __len__(self) -> int:
        return len(self.own)


def merge(own: Int32, other: Int32, mask: Mask, n_other: int) -> Edges:
    """The merged edges of events [N] in any order; events without a positive or with an unknown partner (0) make none.

    One sort of packed (own, other, mask) keys, then the OR of every run. Raises UserError beyond 63 bits of key.
    """
    positive = (mask != 0) & (other != 0)
    key = pair_key(own[positive], other[positive], n_other) << MAX_TASKS | mask[positive].astype(np.int64)
    key.sort()
    pair = key >> MAX_TASKS
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    bits = (key & (2**MAX_TASKS - 1)).astype(np.uint32)
    merged = np.bitwise_or.reduceat(bits, first) if len(first) else bits
    merged_own, merged_other = split_key(pair[first], n_other)
    return Edges(merged_own, merged_other, merged)


def pair_key(own: Int32, other: Int32, n_other: int) -> Int64:
    """One int64 per pair that sorts as (own, other)."""
    highest = (int(own.max(initial=0)) + 1) * n_other
    if highest >= 2 ** (63 - MAX_TASKS):
        raise UserError(
            f"{own.max()} x {n_other} pairs of nodes exceed one shard's keys: build the graph with more shards"
        )
    return own.astype(np.int64) * n_other + other


def split_key(pair: Int64, n_other: int) -> tuple[Int32, Int32]:
    """The (own, other) of pair keys; one division, since divisions are what it costs."""
    own = pair // n_other
    return own.astype(np.int32), (pair - own * n_other).astype(np.int32)
