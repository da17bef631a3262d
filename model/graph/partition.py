"""Where a build's events and tables lie: in memory, or on disk in a temporary folder, cut by node.

A node's shard is its index modulo the number of shards, its local row the quotient: every event of a user lies in one
user shard, every event of an item in one item shard, in the order that they were read.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.errors import Fault
from model.graph.events import Events
from model.graph.ranking import Mask

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
SideName = Literal["user", "item"]
SIDES: tuple[SideName, SideName] = ("user", "item")


def other_side(side: SideName) -> SideName:
    """The side that its edges lead to."""
    return "item" if side == "user" else "user"


_RECORD = np.dtype([("own", "<i4"), ("other", "<i4"), ("mask", "<u4"), ("time", "<i8"), ("known", "<u4")])


@dataclass(frozen=True)
class Shard:
    """Events of the nodes with index % shards == number, seen from one side. own: local rows. other: node indices."""

    number: int
    shards: int
    n_rows: int
    own: Int32
    other: Int32
    mask: Mask
    time: Int64
    known: Mask

    @property
    def is_unknown(self) -> npt.NDArray[np.bool_]:
        """Which events are those of node 0."""
        return np.zeros(len(self.own), dtype=np.bool_) if self.number else self.own == 0

    @property
    def rows(self) -> slice:
        """Where the local rows lie in an array of all nodes."""
        return slice(self.number, None, self.shards)


@dataclass
class Scratch:
    """Working arrays: in memory without a folder, else mapped files in it, which the system may page out."""

    folder: Path | None
    _made: int = field(default=0, init=False)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        if self.folder is None or 0 in shape:
            return np.zeros(shape, dtype)
        self._made += 1
        path = self.folder / f"{self._made}.npy"
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        with disk_errors(self.folder), path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(path, dtype=dtype, mode="r+", shape=shape)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full disk is a fault in one line; it must not surface later as a bus error of a mapped file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Fault(f"{folder}: no space left for the graph's working files; free some or set TMPDIR") from error
        raise


@contextmanager
def scratch(shards: int) -> Iterator[Scratch]:
    """Memory for one shard, a temporary folder for more. The folder goes when the block ends; arrays stay readable."""
    if shards == 1:
        yield Scratch(None)
        return
    folder = Path(tempfile.mkdtemp(prefix="mgoe-graph-"))
    try:
        yield Scratch(folder)
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Partitions:
    """All events, cut by user and by item. n_nodes includes row 0."""

    shards: int
    n_nodes: dict[SideName, int]
    place: Scratch
    _events: Events | Path
    """All of them, or the folder of the shards' files."""

    def load(self, side: SideName, number: int) -> Shard:
        n_rows = len(range(number, self.n_nodes[side], self.shards))
        if isinstance(self._events, Events):
            event = self._events
            own, other = (event.user, event.item) if side == "user" else (event.item, event.user)
            return Shard(number, self.shards, n_rows, own, other, event.mask, event.time, event.known)
        record = np.fromfile(self._events / f"{side}-{number}", dtype=_RECORD)
        own, other, mask, time, known = (np.ascontiguousarray(record[name]) for name in _RECORD.names or ())
        return Shard(number, self.shards, n_rows, own // np.int32(self.shards), other, mask, time, known)


def partition(chunks: Iterable[Events], n_users: int, n_items: int, shards: int, place: Scratch) -> Partitions:
    """Reads the chunks once. With one shard they are kept in memory, else they are appended to their shards' files."""
    n_nodes: dict[SideName, int] = {"user": n_users, "item": n_items}
    if place.folder is None:
        return Partitions(1, n_nodes, place, concatenate(chunks))
    with disk_errors(place.folder), ExitStack() as stack:
        files = {
            (side, number): stack.enter_context((place.folder / f"{side}-{number}").open("wb"))
            for side in SIDES
            for number in range(shards)
        }
        for chunk in chunks:
            for side in SIDES:
                record, bounds = _records(chunk, side, shards)
                for number in range(shards):
                    record[bounds[number] : bounds[number + 1]].tofile(files[side, number])
    return Partitions(shards, n_nodes, place, place.folder)


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


def _records(chunk: Events, side: SideName, shards: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The chunk's records by shard, each shard in the order of reading, and where the shards begin."""
    own, other = (chunk.user, chunk.item) if side == "user" else (chunk.item, chunk.user)
    record = np.empty(len(chunk), dtype=_RECORD)
    record["own"], record["other"], record["mask"], record["time"] = own, other, chunk.mask, chunk.time
    record["known"] = chunk.known
    shard = (own % np.int32(shards)).astype(np.uint16)
    order = np.argsort(shard, kind="stable")
    return record[order], np.searchsorted(shard[order], np.arange(shards + 1))
