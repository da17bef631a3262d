"""Reads exposures from the gateway's access log, from where it stopped the last time.

The place in the file is kept in the database, in the transaction of the events: after a crash nothing is read twice
or left out, and where it is (a restored database), exposure ids make that harmless.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, Engine, select

from model.errors import Fault
from serving.evidence import bulk, door
from serving.evidence.engine import reading, writing
from serving.evidence.event import SECOND, Exposure, Refusal
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.schema import log_positions
from serving.evidence.telemetry import Telemetry
from serving.gateway.access_log import LogLineError, parse
from serving.gateway.exposure_sender import event_of

CHUNK = 2**20
"""Bytes of one transaction, about; a line longer than that is skipped."""
LINGER_S = 10.0
"""A log that was renamed is read until nobody has written to it for so long."""
HEAD = 512
"""Bytes by which a file is known, since the number of a deleted one is used again."""


@dataclass(frozen=True)
class _Place:
    """Where reading goes on: which file, by its inode and first bytes, and the byte."""

    inode: int
    position: int
    head: str


@dataclass(frozen=True)
class _Chunk:
    """Whole lines of a file, and the place behind them; none: nothing is new."""

    lines: bytes
    behind: _Place


def follow(engine: Engine, path: Path, limits: Limits, telemetry: Telemetry | None = None) -> int:
    """Reads what is new, in one transaction; returns the bytes that it went on by, 0 where there is nothing yet.

    A last line without its end is left for the next time. Where the file was renamed away, the rest of it is read
    first, if it still lies in the same folder; where it was cut, reading starts at its beginning. The place is this
    machine's: a log of the same name elsewhere is another one. Raises Fault.
    """
    reader = {"source": socket.gethostname(), "path": str(path.absolute())}
    with reading(engine) as connection:
        place = _place(connection, reader)
    try:
        chunk = _next(path, place)
    except OSError as error:  # a log that is renamed, closed to us or gone while we look
        raise Fault(f"access log {path}: {error}") from error
    if chunk is None:
        return 0
    told = _Told()
    exposures = _exposures(chunk, limits, told)
    with writing(engine) as connection:
        answers = take(connection, exposures, limits)
        if _place(connection, reader) != place:  # another reader of this log went on meanwhile; its place counts
            return len(chunk.lines)
        found = {"inode": chunk.behind.inode, "position": chunk.behind.position, "head": chunk.behind.head}
        bulk.upsert(connection, log_positions, [reader | found])
    if telemetry is not None:
        telemetry.answered("exposure", answers)
        for answer in answers:
            if isinstance(answer, Refusal):
                told.refused(answer.kind, answer.reason)
            else:
                told.counts["accepted"] += 1
        for kind, count in told.counts.items():
            telemetry.read_lines(kind, count, told.reasons.get(kind))
    return len(chunk.lines)


@dataclass
class _Told:
    """What the records of lines were, by kind, and of those that were refused the first reason."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def refused(self, kind: str, reason: str) -> None:
        self.counts[kind] += 1
        self.reasons.setdefault(kind, reason)


def _exposures(chunk: _Chunk, limits: Limits, told: _Told) -> list[Exposure]:
    """The exposures of whole lines; the rest is told."""
    found: list[Exposure] = []
    latest_us = round((time.time() + limits.future_s) * SECOND)
    begin = chunk.behind.position - len(chunk.lines)
    for line in chunk.lines.splitlines(keepends=True):
        try:
            records = parse(line)
        except LogLineError as error:
            told.refused("malformed", f"the line at byte {begin}: {error}")
            records = None
        told.counts["other"] += records == ()
        for event in map(event_of, records or ()):
            judged = None if event is None else door.judged(door.exposure_of, event, latest_us)
            if isinstance(judged, Refusal):
                told.refused("malformed", f"the line at byte {begin}: {judged.reason}")
            elif judged is None:
                told.counts["excluded"] += 1
            else:
                found.append(judged)
        begin += len(line)
    return found


def _place(connection: Connection, reader: dict[str, str]) -> _Place | None:
    mine = (log_positions.c.source == reader["source"], log_positions.c.path == reader["path"])
    row = connection.execute(select(log_positions).where(*mine)).first()
    return None if row is None else _Place(row.inode, row.position, row.head)


def _next(path: Path, place: _Place | None) -> _Chunk | None:
    """What is new: in the rest of a renamed file, while someone may still write to it, then in the current one."""
    for file in _files(path, place):
        with file.open("rb") as opened:
            chunk = _read(opened, place)
            if chunk is not None:
                return chunk
            if file != path and time.time() - os.fstat(opened.fileno()).st_mtime < LINGER_S:
                return None
    return None


def _files(path: Path, place: _Place | None) -> Iterator[Path]:
    inode = path.stat().st_ino if path.exists() else None
    if place is not None and inode != place.inode:
        for sibling in sorted(path.parent.glob(f"{path.name}*")):
            if sibling.stat().st_ino == place.inode and _is_that(sibling, place):
                yield sibling
                break
    if inode is not None:
        yield path


def _is_that(file: Path, place: _Place) -> bool:
    with file.open("rb") as opened:
        return _known(opened, place)


def _known(opened: BinaryIO, place: _Place) -> bool:
    """Whether a file is the one of a place, and holds all that was read of it."""
    found = os.fstat(opened.fileno())
    if found.st_ino != place.inode or found.st_size < place.position:
        return False
    return _head(opened, int(place.head.partition(":")[0])) == place.head


def _head(opened: BinaryIO, length: int) -> str:
    opened.seek(0)
    return f"{length}:{hashlib.sha256(opened.read(length)).hexdigest()}"


def _read(opened: BinaryIO, place: _Place | None) -> _Chunk | None:
    start = place.position if place is not None and _known(opened, place) else 0
    opened.seek(start)
    data = opened.read(CHUNK)
    lines = data[: data.rfind(b"\n") + 1]
    if not lines and len(data) == CHUNK:
        lines = data
    if not lines:
        return None
    behind = start + len(lines)
    return _Chunk(lines, _Place(os.fstat(opened.fileno()).st_ino, behind, _head(opened, min(HEAD, behind))))
