"""Merging: all events of a (user, item) pair become one edge, its mask the OR of theirs (C_ui is a set of tasks)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import UserError
from model.graph.ranking import Mask

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
STRIP = 1 << 16
"""Events of one step: its columns stay in the processor's cache, and no temporary array is as long as the log."""


@dataclass(frozen=True)
class Edges:
    """Merged pairs with at least one positive, sorted by (own, other). own, other: int32 [E]. mask: uint32 [E]."""

    own: Int32
    other: Int32
    mask: Mask

    def __len__(self) -> int:
        return len(self.own)


@dataclass(frozen=True)
class PairKey:
    """How (own, other) and `low` further bits are packed into one int64 that sorts as they do."""

    own: int
    other: int
    low: int

    @classmethod
    def of(cls, n_own: int, n_other: int, n_low: int) -> PairKey:
        """For values below these numbers. Raises UserError beyond 63 bits."""
        key = cls(*(max(1, (n - 1).bit_length()) for n in (n_own, n_other, n_low)))
        if key.own + key.other + key.low > 63:
            raise UserError(
                f"{n_own} x {n_other} pairs of nodes exceed one shard's keys: build the graph with more shards"
            )
        return key

    def pack(self, own: Int32, other: Int32, low: npt.NDArray[np.integer]) -> Int64:
        key = own.astype(np.int64)
        key <<= self.other
        key |= other
        key <<= self.low
        key |= low
        return key

    def pair(self, key: Int64) -> Int64:
        return key >> self.low

    def own_of(self, pair: Int64) -> Int32:
        return np.asarray(pair >> self.other).astype(np.int32)

    def other_of(self, pair: Int64) -> Int32:
        return np.asarray(pair & (2**self.other - 1)).astype(np.int32)

    def low_of(self, key: Int64) -> Int64:
        return np.asarray(key & (2**self.low - 1))


def merge(own: Int32, other: Int32, mask: Mask, n_other: int) -> Edges:
    """The merged edges of events [N] in any order; events without a positive or with an unknown partner (0) make none.

    One sort of packed (own, other, mask) keys, then the OR of every run. Raises UserError beyond 63 bits of key.
    """
    layout = PairKey.of(int(own.max(initial=0)) + 1, n_other, int(mask.max(initial=0)) + 1)
    key = _positive_keys(layout, own, other, mask)
    key.sort()
    merged = Edges(np.empty(len(key), np.int32), np.empty(len(key), np.int32), np.empty(len(key), np.uint32))
    start = filled = 0
    while start < len(key):
        stop = _run_end(layout, key, start + STRIP)
        strip = key[start:stop]
        pair = layout.pair(strip)
        first = run_starts(pair)
        to = slice(filled, filled + len(first))
        merged.mask[to] = np.bitwise_or.reduceat(layout.low_of(strip), first)
        merged.own[to], merged.other[to] = layout.own_of(pair[first]), layout.other_of(pair[first])
        start, filled = stop, to.stop
    return Edges(merged.own[:filled], merged.other[:filled], merged.mask[:filled])


def run_starts(ordered: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Where each run of equal values begins."""
    is_first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def _positive_keys(layout: PairKey, own: Int32, other: Int32, mask: Mask) -> Int64:
    """Keys of the events that make an edge, in their order."""
    keys, filled = np.empty(len(own), dtype=np.int64), 0
    for start in range(0, len(own), STRIP):
        at = slice(start, start + STRIP)
        positive = (mask[at] != 0) & (other[at] != 0)
        strip = layout.pack(own[at], other[at], mask[at])[positive]
        keys[filled : filled + len(strip)] = strip
        filled += len(strip)
    return keys[:filled]


def _run_end(layout: PairKey, key: Int64, about: int) -> int:
    """The first place from `about` on that does not cut a pair's run."""
    if about >= len(key):
        return len(key)
    return int(np.searchsorted(key, (int(key[about - 1] >> layout.low) + 1) << layout.low))
