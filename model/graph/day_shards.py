"""A remembered state and the events of a day after it, as shards to count a graph from.

A merged pair stands for all its events before the day: one event with the pair's mask, a second that is before the day,
and no impression. Partners that the graph lists as recent are dated in the order of that list, all others before them,
so that the recents after the day are those of all events: a list is as long as the next one, or holds every partner.
Legend: R rows of a shard, L recents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.graph.merging import Edges
from model.graph.pair_state import PairState
from model.graph.partition import SPAN_BITS, Loads, Partitions, Shard, SideName
from model.graph.score_matrix import ScoreMatrix, ShardEdges
from model.graph.scratch import Scratch
from model.graph.threads import Crew

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DayShards:
    """recent: int32 [n, L] by side, of the last snapshot. touched_alone: without the pairs of nodes that the day gives
    no edge."""

    state: PairState
    day: Partitions
    recent: dict[SideName, Int32]
    touched_alone: bool

    @property
    def n_nodes(self) -> dict[SideName, int]:
        return self.day.n_nodes

    @property
    def starts(self) -> dict[SideName, Int64]:
        return self.day.starts

    @property
    def place(self) -> Scratch:
        return self.day.place

    @property
    def shards(self) -> int:
        return self.day.shards

    def most_events(self, side: SideName) -> Int64:
        return self.day.most_events(side)

    def load(self, side: SideName, number: int) -> Shard:
        day = self.day.load(side, number)
        pairs = edges_before(self.state, side, day.first, day.first + day.n_rows)
        if self.touched_alone:
            touched = np.zeros(day.n_rows, np.bool_)
            touched[day.own[(day.mask != 0) & (day.other != 0)]] = True
            kept = touched[pairs.own]
            pairs = Edges(pairs.own[kept], pairs.other[kept], pairs.mask[kept])
        recent = self.recent[side][day.first : day.first + day.n_rows]
        nothing = np.zeros(len(pairs), np.uint32)
        return Shard(
            first=day.first,
            n_rows=day.n_rows,
            own=np.concatenate([pairs.own, day.own]),
            other=np.concatenate([pairs.other, day.other]),
            mask=np.concatenate([pairs.mask, day.mask]),
            time=np.concatenate([_dated(pairs, recent, self.state.as_of), day.time]),
            known=np.concatenate([nothing, day.known]),
            impressions_from=self.state.as_of,
        )


def edges_before(state: PairState, side: SideName, start: int, stop: int) -> Edges:
    """The merged pairs of the nodes start .. stop - 1 of a side; own: local rows."""
    pairs = state.pairs[side]
    ends = pairs.ends(start, stop)
    own = np.repeat(np.arange(stop - start, dtype=np.int32), np.diff(ends))
    inside = slice(int(ends[0]), int(ends[-1]))
    return Edges(own, np.asarray(pairs.other[inside]), pairs.mask[inside].astype(np.uint32))


def _dated(pairs: Edges, recent_RL: Int32, as_of: int) -> Int64:
    """A second before `as_of` for every pair [E]: the later, the nearer to the front of its row's recents."""
    length = recent_RL.shape[1]
    time = np.full(len(pairs), as_of - 1 - length, np.int64)
    row, rank = np.nonzero(recent_RL)
    wanted = row.astype(np.int64) << 32 | recent_RL[row, rank]
    key = pairs.own.astype(np.int64) << 32 | pairs.other
    at = np.searchsorted(key, wanted)
    inside = at < len(key)
    found = np.flatnonzero(inside)[key[at[inside]] == wanted[inside]]
    time[at[found]] = as_of - 1 - rank[found]
    return time


def add_pairs(loads: Loads, state: PairState) -> None:
    """Counts the state's pairs as events too, so that shards are balanced by both."""
    for side, pairs in state.pairs.items():
        spans = loads.per_span[side]
        last = np.minimum((np.arange(1, len(spans) + 1) << SPAN_BITS), len(pairs.end)) - 1
        spans += np.diff(pairs.end[last], prepend=0)


def scores_before(source: DayShards, score_of_mask: npt.NDArray[np.float64], crew: Crew) -> ScoreMatrix:
    """S of everything before the day."""
    shards: dict[SideName, list[ShardEdges]] = {}
    for side, starts in source.starts.items():
        pairs, shards[side] = source.state.pairs[side], []
        for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            ends = pairs.ends(start, stop)
            inside = slice(int(ends[0]), int(ends[-1]))
            rows = slice(start, stop)
            shards[side].append(ShardEdges(rows, pairs.other[inside], pairs.mask[inside], ends[1:] - ends[0]))
    return ScoreMatrix(source.n_nodes, score_of_mask, shards, source.place, crew)
