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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    counts, exposures = _exposures(chunk.lines.splitlines(), limits)
    with writing(engine) as connection:
        answers = take(connection, exposures, limits)
        if _place(connection, reader) != place:  # another reader of this log went on meanwhile; its place counts
            return len(chunk.lines)
        found = {"inode": chunk.behind.inode, "position": chunk.behind.position, "head": chunk.behind.head}
        bulk.upsert(connection, log_positions, [reader | found])
    if telemetry is not None:
        telemetry.answered("exposure", answers)
        for kind, count in counts.items():
            telemetry.read_lines(kind, count)
    return len(chunk.lines)


def _exposures(lines: Sequence[bytes], limits: Limits) -> tuple[Counter[str], list[Exposure]]:
    """The exposures of whole lines, and how many records were what."""
    counts: Counter[str] = Counter()
    found: list[Exposure] = []
    latest_us = round((time.time() + limits.future_s) * SECOND)
    for line in lines:
        try:
            records = parse(line)
        except LogLineError:
            counts["malformed"] += 1
            continue
        counts["other"] += not records
        for event in map(event_of, records):
            judged = None if event is None else door.judged(door.exposure_of, event, latest_us)
            if isinstance(judged, Refusal):
                counts["malformed"] += 1
            elif judged is None:
                counts["excluded"] += 1
            else:
                counts["exposure"] += 1
                found.append(judged)
    return counts, found


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
