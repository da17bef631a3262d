"""A log cut into shards of neighbouring nodes: every event of a user lies in one user shard, every event of an item in
one item shard, in the order that they were read.

Shards hold ranges of nodes that balance events, so that what is made of a shard is written in one piece. Events lie in
memory, or on disk in one file a side, whose regions are the shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.graph.events import Events
from model.graph.ranking import Mask
from model.graph.scratch import Regions, Scratch
from model.graph.threads import in_order

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
SideName = Literal["user", "item"]
SIDES: tuple[SideName, SideName] = ("user", "item")
SPAN_BITS = 5
"""Nodes are counted and cut in spans of 2^5: their table stays in the cache; a span is the least that a shard is."""


def other_side(side: SideName) -> SideName:
    """The side that its edges lead to."""
    return "item" if side == "user" else "user"


@dataclass
class Loads:
    """Events per span of nodes, by side. n_nodes includes row 0. first, last: the first and the last second."""

    n_nodes: dict[SideName, int]
    per_span: dict[SideName, Int64] = field(init=False)
    first: int = np.iinfo(np.int64).max
    last: int = np.iinfo(np.int64).min

    def __post_init__(self) -> None:
        self.per_span = {side: np.zeros((n >> SPAN_BITS) + 1, np.int64) for side, n in self.n_nodes.items()}

    def counting(self, chunks: Iterable[Events]) -> Iterator[Int64]:
        """The times of the chunks, which are counted as they pass."""
        for chunk in chunks:
            for side, own in (("user", chunk.user), ("item", chunk.item)):
                spans = self.per_span[side]  # type: ignore[index]
                spans += np.bincount(own >> SPAN_BITS, minlength=len(spans))
            if len(chunk):
                self.first = min(self.first, int(chunk.time.min()))
                self.last = max(self.last, int(chunk.time.max()))
            yield chunk.time

    def starts(self, side: SideName, shards: int) -> Int64:
        """First nodes of shards of about equal events, and the number of nodes at the end: [shards + 1]."""
        reached = np.cumsum(self.per_span[side])
        cuts = np.searchsorted(reached, reached[-1] * np.arange(1, shards) / shards) + 1
        nodes: Int64 = np.concatenate([[0], cuts << SPAN_BITS, [self.n_nodes[side]]])
        return np.minimum(nodes, self.n_nodes[side])

    def events(self, side: SideName, starts: Int64) -> Int64:
        """Events of the shards that `starts` [shards + 1] cuts, those of the unknown node included: [shards]."""
        reached = np.concatenate([[0], np.cumsum(self.per_span[side])])
        held: Int64 = np.diff(reached[-(-starts >> SPAN_BITS)])
        return held


@dataclass(frozen=True)
class Shard:
    """Events of the nodes first .. first + n_rows - 1, seen from one side. own: local rows. other: node indices.

    Events of the unknown node (0) and past the last moment are not among them. impressions_from: what lies before this
    second are pairs that were merged earlier, each as one event: edges, but no impressions (model.graph.day_shards).
    """

    first: int
    n_rows: int
    own: Int32
    other: Int32
    mask: Mask
    time: Int64
    known: Mask
    impressions_from: int = np.iinfo(np.int64).min

    @property
    def rows(self) -> slice:
        """Where the local rows lie in an array of all nodes."""
        return slice(self.first, self.first + self.n_rows)


class ShardSource(Protocol):
    """What a graph is counted from, shard by shard. n_nodes includes row 0."""

    @property
    def n_nodes(self) -> dict[SideName, int]: ...

    @property
    def starts(self) -> dict[SideName, Int64]: ...

    @property
    def place(self) -> Scratch: ...

    @property
    def shards(self) -> int: ...

    def most_events(self, side: SideName) -> Int64:
        """What no shard of the side has more events than: [shards]."""
        ...

    def load(self, side: SideName, number: int) -> Shard: ...


@dataclass(frozen=True)
class Partitions:
    """All events before `before`, cut by user and by item. starts: by side, [shards + 1]. n_nodes includes row 0."""

    n_nodes: dict[SideName, int]
    starts: dict[SideName, Int64]
    before: int
    place: Scratch
    _events: Events | dict[SideName, Regions]
    """All of them, or the records of the shards."""
    _most: dict[SideName, Int64]
    _origin: int

    @property
    def shards(self) -> int:
        return len(self.starts["user"]) - 1

    def most_events(self, side: SideName) -> Int64:
        """What no shard of the side has more events than: [shards]."""
        return self._most[side]

    def load(self, side: SideName, number: int) -> Shard:
        start, stop = (int(node) for node in self.starts[side][number : number + 2])
        if isinstance(self._events, Events):
            event = self._events
            own, other = (event.user, event.item) if side == "user" else (event.item, event.user)
            kept = np.flatnonzero((own != 0) & (event.time < self.before))
            columns = (other[kept], event.mask[kept], event.time[kept], event.known[kept])
            return Shard(start, stop - start, own[kept], *columns)
        record = self._events[side].read(number)
        own, other = record["own"].astype(np.int32), record["other"].astype(np.int32)
        time = record["time"].astype(np.int64) + self._origin
        mask, known = record["mask"].astype(np.uint32), record["known"].astype(np.uint32)
        return Shard(start, stop - start, own, other, mask, time, known)


def partition(
    chunks: Iterable[Events],
    loads: Loads,
    *,
    n_tasks: int,
    before: int,
    shards: int,
    place: Scratch,
) -> Partitions:
    """Reads the chunks once more. They are kept in memory where `place` is memory, else they go to their shards."""
    starts = {side: loads.starts(side, shards) for side in SIDES}
    most = {side: loads.events(side, starts[side]) for side in SIDES}
    if place.folder is None:
        return Partitions(loads.n_nodes, starts, before, place, concatenate(chunks), most, 0)
    record = _record_type(n_tasks, loads.last - loads.first)
    records = {side: place.regions(record, most[side]) for side in SIDES}
    writers = {side: _Records(side, starts[side], loads, record, before) for side in SIDES}

    def write(task: tuple[SideName, Events]) -> None:
        side, chunk = task
        rows, bounds = writers[side].of(chunk)
        for number, (start, stop) in enumerate(pairwise(bounds)):
            records[side].append(number, rows[start:stop])

    for chunk in chunks:
        for _ in in_order(len(SIDES), write, [(side, chunk) for side in SIDES]):
            pass
    return Partitions(loads.n_nodes, starts, before, place, records, most, loads.first)


def concatenate(chunks: Iterable[Events]) -> Events:
    """All chunks as one, in their order."""
    parts = list(chunks)
    return Events(
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.mask for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.known for part in parts]),
    )


def _record_type(n_tasks: int, seconds: int) -> np.dtype[Any]:
    """The narrowest record of an event: 14 bytes for up to eight tasks and 136 years."""
    bits = "<u1" if n_tasks <= 8 else "<u2"
    time = "<u4" if seconds < 2**32 else "<u8"
    return np.dtype([("own", "<u4"), ("other", "<u4"), ("mask", bits), ("time", time), ("known", bits)])


class _Records:
    """Cuts chunks of events into the records of one side's shards."""

    def __init__(self, side: SideName, starts: Int64, loads: Loads, record: np.dtype[Any], before: int) -> None:
        self._side, self._starts, self._record = side, starts, record
        self._origin, self._before = loads.first, before
        spans = np.arange(len(loads.per_span[side])) << SPAN_BITS
        self._shard_of_span = np.searchsorted(starts[1:-1], spans, side="right").astype(np.uint16)

    def of(self, chunk: Events) -> tuple[npt.NDArray[Any], Int64]:
        """The chunk's records by shard, each shard in the order of reading, and where the shards begin and end."""
        own, other = (chunk.user, chunk.item) if self._side == "user" else (chunk.item, chunk.user)
        shard = self._shard_of_span[own >> SPAN_BITS]
        kept = np.flatnonzero((own != 0) & (chunk.time < self._before))
        order = kept[np.argsort(shard[kept], kind="stable")]
        in_shard = np.bincount(shard[order], minlength=len(self._starts) - 1)
        record = np.empty(len(order), dtype=self._record)
        record["own"] = own[order] - np.repeat(self._starts[:-1], in_shard)
        record["other"], record["mask"], record["known"] = other[order], chunk.mask[order], chunk.known[order]
        record["time"] = chunk.time[order] - self._origin
        return record, np.concatenate([[0], np.cumsum(in_shard)])
