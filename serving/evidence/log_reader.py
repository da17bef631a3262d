"""Reads exposures from the gateway's access log, from where it stopped the last time.

The place in the file is kept in the database, in the transaction of the events: after a crash nothing is read twice
or left out, and where it is (a restored database), exposure ids make that harmless.
"""

from __future__ import annotations

import math
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from sqlalchemy import Connection, Engine, select

from model.errors import Fault
from serving.evidence import bulk, door
from serving.evidence.engine import reading, writing
from serving.evidence.event import SECOND, Answer, Exposure, Refusal
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.log_files import Chunk, Place, next_chunk
from serving.evidence.schema import log_positions
from serving.evidence.telemetry import Telemetry
from serving.gateway.access_log import LogLineError, parse
from serving.gateway.exposure_sender import event_of


def follow(engine: Engine, path: Path, limits: Limits, telemetry: Telemetry | None = None) -> int:
    """Reads what is new, in one transaction; returns the bytes that it went on by, 0 where there is nothing yet.

    A last line without its end is left for the next time. Where the file was renamed away, the rest of it is read
    first, and then those that were renamed after it, as long as they lie beside it; where it was cut, reading starts at
    its beginning. The place is this machine's: a log of the same name elsewhere is another one. Raises Fault,
    also where there is no room for any of the exposures: reading goes on there once there is.
    """
    reader = {"source": socket.gethostname(), "path": str(path.absolute())}
    with reading(engine) as connection:
        place = _place(connection, reader)
    try:
        chunk = next_chunk(path, place, _time_of)
    except OSError as error:
        raise Fault(f"access log {path}: {error}") from error
    if chunk is None:
        return 0
    told = _Told()
    exposures = _exposures(chunk, limits, told)
    with writing(engine) as connection:
        answers = take(connection, exposures, limits)
        _require_room(path, chunk, answers)
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
        if chunk.gone and place is not None:
            reason = (
                f"the file that was read to byte {place.position} is gone from beside {path.name}, with what came after"
            )
            telemetry.lost_place(reason)
    return len(chunk.lines)


def _time_of(line: bytes) -> float | None:
    """When the request of a line began, whatever it was."""
    try:
        found = float(orjson.loads(line)["time"])
    except (ValueError, TypeError, KeyError):
        return None
    return found if math.isfinite(found) else None


def _require_room(path: Path, chunk: Chunk, answers: Sequence[Answer]) -> None:
    """Holds the place where nothing can be taken; where something can, it must not wait for the rest."""
    full = [answer for answer in answers if isinstance(answer, Refusal) and answer.kind == "no_room"]
    if full and len(full) == len(answers):
        raise Fault(f"access log {path}: reading stops at byte {chunk.begin} of {chunk.file.name}: {full[0].reason}")


@dataclass
class _Told:
    """What the records of lines were, by kind, and of those that were refused the first reason."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def refused(self, kind: str, reason: str) -> None:
        self.counts[kind] += 1
        self.reasons.setdefault(kind, reason)


def _exposures(chunk: Chunk, limits: Limits, told: _Told) -> list[Exposure]:
    """The exposures of whole lines; the rest is told."""
    found: list[Exposure] = []
    latest_us = round((time.time() + limits.future_s) * SECOND)
    begin = chunk.begin
    for line in chunk.lines.splitlines(keepends=True):
        try:
            records = parse(line)
        except LogLineError as error:
            told.refused("malformed", f"the line at byte {begin}: {error}")
            records = None
        told.counts["other"] += records == ()
        for event in map(event_of, records or ()):
            judged = None if event is None else door.judged(door.exposure_of, event, latest_us, "exposure_id")
            if isinstance(judged, Refusal):
                told.refused("malformed", f"the line at byte {begin}: {judged.reason}")
            elif judged is None:
                told.counts["excluded"] += 1
            else:
                found.append(judged)
        begin += len(line)
    return found


def _place(connection: Connection, reader: dict[str, str]) -> Place | None:
    mine = (log_positions.c.source == reader["source"], log_positions.c.path == reader["path"])
    row = connection.execute(select(log_positions).where(*mine)).first()
    return None if row is None else Place(row.inode, row.position, row.head)
