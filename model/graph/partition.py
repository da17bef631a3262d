"""A log cut into shards of neighbouring nodes: every event of a user lies in one user shard, every event of an item in
one item shard, in the order that they were read.

Shards hold ranges of nodes that balance events, so that what is made of a shard is written in one piece. Events lie in
memory, or on disk in one file a side, whose regions are the shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.data.time_counts import TimeCounts
from model.graph.events import Events, Piece
from model.graph.ranking import Mask
from model.graph.scratch import Regions, Scratch
from model.graph.threads import Crew

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

    def merge(self, other: Loads) -> None:
        """The events that another one counted."""
        for side, spans in other.per_span.items():
            self.per_span[side] += spans
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)

    @property
    def rows(self) -> int:
        """Events of known and unknown nodes."""
        return int(self.per_span["user"].sum())

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


def survey(pieces: Iterable[Piece], n_nodes: dict[SideName, int], crew: Crew) -> tuple[Loads, TimeCounts]:
    """A first reading: events per span of nodes, and rows per second."""
    loads, times = Loads(n_nodes), TimeCounts()

    def of_piece(piece: Piece) -> tuple[Loads, TimeCounts]:
        held, seconds = Loads(n_nodes), TimeCounts()
        for time in held.counting(piece.chunks(labels=False)):
            seconds.add(time)
        return held, seconds

    for held, seconds in crew.in_order(of_piece, pieces):
        loads.merge(held)
        times.merge(seconds)
    return loads, times


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
class Records:
    """Events of one side on disk: a region a piece of the log, in it one run after the other, in each run the shards.

    bounds: int64 [shards + 1, runs], where the shards of a run begin and end in the region. region: int64 [runs].
    Both where other processes can map them: a message that held them would grow with shards and runs.
    """

    regions: Regions
    bounds: Int64
    region: Int64

    def of_shard(self, number: int) -> npt.NDArray[Any]:
        """The shard's records, in the order of reading."""
        starts, stops = self.bounds[number : number + 2]
        found, reached = np.empty(int((stops - starts).sum()), self.regions.dtype), 0
        for region, start, stop in zip(self.region.tolist(), starts.tolist(), stops.tolist(), strict=True):
            self.regions.read_into(region, start, found[reached : reached + stop - start])
            reached += stop - start
        return found


@dataclass(frozen=True)
class Partitions:
    """All events before `before`, cut by user and by item. starts: by side, [shards + 1]. n_nodes includes row 0."""

    n_nodes: dict[SideName, int]
    starts: dict[SideName, Int64]
    before: int
    place: Scratch
    _events: Events | dict[SideName, Records]
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
        record = self._events[side].of_shard(number)
        own, other = record["own"].astype(np.int32), record["other"].astype(np.int32)
        time = record["time"].astype(np.int64) + self._origin
        mask, known = record["mask"].astype(np.uint32), record["known"].astype(np.uint32)
        return Shard(start, stop - start, own, other, mask, time, known)


@dataclass(frozen=True)
class Cut:
    """Into how many shards, which events (before a moment), and how many rows at a time, about."""

    shards: int
    before: int
    rows: int = 1 << 20


def partition(
    pieces: Sequence[Piece], loads: Loads, cut: Cut, *, n_tasks: int, place: Scratch, crew: Crew
) -> Partitions:
    """Reads the log once more. Events are kept in memory where `place` is memory, else they go to their shards."""
    starts = {side: loads.starts(side, cut.shards) for side in SIDES}
    most = {side: loads.events(side, starts[side]) for side in SIDES}
    if place.folder is None:
        whole = concatenate(chunk for piece in pieces for chunk in piece.chunks())
        return Partitions(loads.n_nodes, starts, cut.before, place, whole, most, 0)
    record, rows = _record_type(n_tasks, loads.last - loads.first), np.array([piece.rows for piece in pieces])
    regions = {side: place.regions(record, rows) for side in SIDES}
    cutters = {side: _Cutter(side, starts[side], loads, record, cut.before, place) for side in SIDES}

    def write(numbered: tuple[int, Piece]) -> dict[SideName, Int64]:
        number, piece = numbered
        bounds: dict[SideName, list[Int64]] = {side: [] for side in SIDES}
        reached = dict.fromkeys(SIDES, 0)
        for side in SIDES:
            regions[side].begin(number)
        for run in _runs(piece.chunks(), cut.rows):
            for side in SIDES:
                records, ends = cutters[side].of(run)
                regions[side].append(number, records)
                bounds[side].append(reached[side] + ends)
                reached[side] += len(records)
        return {side: np.array(of_side).reshape(-1, cut.shards + 1) for side, of_side in bounds.items()}

    found = list(crew.in_order(write, list(enumerate(pieces))))
    events = {side: _records(regions[side], [of_piece[side] for of_piece in found], place) for side in SIDES}
    return Partitions(loads.n_nodes, starts, cut.before, place, events, most, loads.first)


def _records(regions: Regions, bounds: list[Int64], place: Scratch) -> Records:
    """bounds: by region, [runs, shards + 1]."""
    region = np.repeat(np.arange(len(bounds)), [len(of_region) for of_region in bounds])
    return Records(regions, place.shown(np.concatenate(bounds).T), place.shown(region))


def _runs(chunks: Iterable[Events], rows: int) -> Iterator[Events]:
    """The chunks joined to runs of at least so many rows, the last one shorter."""
    waiting: list[Events] = []
    for chunk in chunks:
        waiting.append(chunk)
        if sum(map(len, waiting)) >= rows:
            yield concatenate(waiting)
            waiting = []
    if waiting:
        yield concatenate(waiting)


def concatenate(chunks: Iterable[Events]) -> Events:
    """All chunks as one, in their order."""
    none = np.zeros(0, np.int32)
    parts = list(chunks) or [Events(none, none, none.astype(np.uint32), none.astype(np.int64), none.astype(np.uint32))]
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


class _Cutter:
    """Cuts chunks of events into the records of one side's shards."""

    def __init__(  # noqa: PLR0917
        self, side: SideName, starts: Int64, loads: Loads, record: np.dtype[Any], before: int, place: Scratch
    ) -> None:
        self._side, self._starts, self._record = side, starts, record
        self._origin, self._before = loads.first, before
        spans = np.arange(len(loads.per_span[side])) << SPAN_BITS
        shards = np.searchsorted(starts[1:-1], spans, side="right")
        self._shard_of_span: npt.NDArray[np.uint16] = place.shown(shards.astype(np.uint16))

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
