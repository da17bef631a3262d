"""The access log as a bounded spool: read on from a saved place, renamed when it is long, dropped when nobody takes it.

What lies before the place has been taken. Renamed files come before the current one, the oldest first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model.errors import Fault
from serving.gateway.folder import GatewayFolder

CHUNK = 2**19
"""Bytes read at once, about: well below what the evidence takes in one request."""
PLACE_FILE = "access.place.json"


class Place(NamedTuple):
    """A byte in one of the files."""

    file: str
    position: int


@dataclass
class LogSpool:
    """One gateway's log."""

    folder: GatewayFolder
    reopen: Callable[[], None]
    """Makes Envoy open the log by its name again; may raise Fault."""
    file_bytes: int = 64 * 2**20
    """A longer log is renamed."""
    files: int = 4
    """Renamed files that are kept for a reader that does not come along."""
    linger_s: float = 10.0
    """Envoy may still write to a file that was renamed just now."""
    lost_bytes: int = 0
    """Dropped before they were taken."""

    def chunk(self) -> tuple[bytes, Place] | None:
        """Whole lines that were not taken yet, and the place behind them for `taken`; None: there are none."""
        place = self._place()
        for file in self._from(place.file):
            start = place.position if file.name == place.file else 0
            lines = _lines(file, start)
            if lines:
                return lines, Place(file.name, start + len(lines))
            if file != self.folder.access_log and time.time() - _status(file).st_mtime < self.linger_s:
                return None
        return None

    def taken(self, place: Place) -> None:
        """Reading goes on behind this place, also after a restart."""
        self.folder.write(PLACE_FILE, json.dumps(place._asdict()))

    @property
    def waiting_bytes(self) -> int:
        """Written, and not taken yet."""
        place = self._place()
        files = [file for file in self._from(place.file) if file.exists()]
        return sum(file.stat().st_size - (place.position if file.name == place.file else 0) for file in files)

    def tend(self) -> None:
        """Renames the log if it is long, deletes what was taken, drops the oldest where too many wait. Raises Fault."""
        self._rename_long()
        place = self._place()
        waiting = self._from(place.file)
        for file in self._renamed():
            if file not in waiting:
                file.unlink()
        for file in self._renamed()[: -self.files]:
            self.lost_bytes += file.stat().st_size - (place.position if file.name == place.file else 0)
            file.unlink()

    def _rename_long(self) -> None:
        log = self.folder.access_log
        if log.exists():
            if log.stat().st_size <= self.file_bytes:
                return
            renamed = self._renamed()
            number = int(renamed[-1].suffix[1:]) + 1 if renamed else 1
            aside = log.with_name(f"{log.name}.{number:09d}")
            place = self._place()
            if (
                place.file == log.name
            ):  # saved first: after a crash in between, all is read again, and nothing is missed
                self.taken(Place(aside.name, place.position))
            log.rename(aside)
        elif not self._renamed():
            return
        self.reopen()

    def _from(self, name: str) -> list[Path]:
        """The files from this one on."""
        files = [*self._renamed(), self.folder.access_log]
        return files[[file.name for file in files].index(name) :]

    def _renamed(self) -> list[Path]:
        return sorted(self.folder.root.glob(f"{self.folder.access_log.name}.{'[0-9]' * 9}"))

    def _place(self) -> Place:
        files = [*self._renamed(), self.folder.access_log]
        try:
            saved = Place(**json.loads((self.folder.root / PLACE_FILE).read_bytes()))
        except (
            OSError,
            TypeError,
            ValueError,
        ):  # none yet, or none of ours: exposure ids make a second reading harmless
            return Place(files[0].name, 0)
        return saved if saved.file in {file.name for file in files} else Place(files[0].name, 0)


def _status(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise Fault(f"access log {file}: {error.strerror}") from None


def _lines(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(position)
            data = opened.read(CHUNK)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise Fault(f"access log {file}: {error.strerror}") from None
    whole = data[: data.rfind(b"\n") + 1]
    return whole if whole or len(data) < CHUNK else data  # a line without an end goes by in pieces, each malformed
