"""Reads exposures from the gateway's access log, from where it stopped the last time.

The place in the file is kept in the database, in the transaction of the events: after a crash nothing is read twice
or left out, and where it is (a restored database), exposure ids make that harmless.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from model.errors import Fault
from serving.evidence import bulk, door
from serving.evidence.engine import reading, writing
from serving.evidence.event import SECOND, Exposure, Refusal
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.schema import log_positions
from serving.evidence.telemetry import Telemetry
from serving.gateway.access_log import ExposureRecord, LogLineError, parse

CHUNK = 2**20
"""Bytes of one transaction, about; a line longer than that is skipped."""


@dataclass(frozen=True)
class _Place:
    """Where reading goes on: which file, by its inode, and the byte."""

    inode: int
    position: int


def follow(engine: Engine, path: Path, limits: Limits, telemetry: Telemetry | None = None) -> int:
    """Reads what is new, in one transaction; returns the bytes that it went on by, 0 where there is nothing yet.

    A last line without its end is left for the next time. Where the file was renamed away, the rest of it is read
    first, if it still lies in the same folder; where it was cut, reading starts at its beginning. Raises Fault.
    """
    with reading(engine) as connection:
        place = _place(connection, path)
    file, place = _file(path, place)
    if file is None:
        return 0
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_ino != place.inode:  # renamed between the look and the opening
                return 0
            opened.seek(place.position)
            data = opened.read(CHUNK)
    except OSError as error:
        raise Fault(f"access log {file}: {error}") from error
    whole = data[: data.rfind(b"\n") + 1]
    if not whole and len(data) == CHUNK:
        whole = data
    if not whole:
        return 0
    counts, exposures = _exposures(whole.splitlines(), limits)
    with writing(engine) as connection:
        answers = take(connection, exposures, limits)
        record = {"path": str(path), "inode": place.inode, "position": place.position + len(whole)}
        bulk.upsert(connection, log_positions, [record])
    if telemetry is not None:
        telemetry.answered("exposure", answers)
        for kind, count in counts.items():
            telemetry.read_lines(kind, count)
    return len(whole)


def exposure_of(record: ExposureRecord) -> Exposure | None:
    """The exposure of a record; None where it is no evidence. Forced ones are kept, since they are counted."""
    if record.excluded not in {None, "forced"} or not record.succeeded:
        return None
    if record.unit is None or record.exposure_id is None or record.digest is None:
        return None
    return Exposure(
        experiment=record.experiment,
        exposure_id=record.exposure_id,
        unit=record.unit,
        arm=record.arm,
        digest=record.digest,
        phase=record.phase,
        time_us=round(record.time * SECOND),
        propensity=record.propensity,
        request_id=record.request_id,
        forced=record.forced,
    )


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
        for record in records:
            exposure = exposure_of(record)
            judged = None if exposure is None else door.checked(exposure, latest_us)
            if isinstance(judged, Refusal):
                counts["malformed"] += 1
            elif judged is None:
                counts["excluded"] += 1
            else:
                counts["exposure"] += 1
                found.append(judged)
    return counts, found


def _place(connection: Connection, path: Path) -> _Place | None:
    row = connection.execute(select(log_positions).where(log_positions.c.path == str(path))).first()
    return None if row is None else _Place(row.inode, row.position)


def _file(path: Path, place: _Place | None) -> tuple[Path | None, _Place]:
    """The file to read from and where: the rest of a renamed one, then the current one."""
    try:
        current = path.stat()
    except FileNotFoundError:
        current = None
    if place is not None and (current is None or current.st_ino != place.inode):
        for sibling in sorted(path.parent.glob(f"{path.name}*")):
            found = sibling.stat()
            if found.st_ino == place.inode and found.st_size > place.position:
                return sibling, place
    if current is None:
        return None, _Place(0, 0)
    if place is None or place.inode != current.st_ino or current.st_size < place.position:
        return path, _Place(current.st_ino, 0)
    return path, place
