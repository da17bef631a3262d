"""A log and the files that it was renamed to: what is new in them behind a place."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 2**20
"""Bytes that are read at once, about; a line longer than that is skipped."""
LINGER_S = 10.0
"""A log that was renamed is read until nobody has written to it for so long."""
HEAD = 512
"""Bytes by which a file is known, since the number of a deleted one is used again."""

_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".Z"})


@dataclass(frozen=True)
class Place:
    """Where reading goes on: which file, by its inode and first bytes, and the byte."""

    inode: int
    position: int
    head: str


@dataclass(frozen=True)
class Chunk:
    """Whole lines of a file, and the place behind them."""

    file: Path
    lines: bytes
    behind: Place
    gone: bool = False
    """The file of the place before was not found any more: what was written to it since may be lost."""

    @property
    def begin(self) -> int:
        """The byte of the first line."""
        return self.behind.position - len(self.lines)


def next_chunk(path: Path, place: Place | None, time_of: Callable[[bytes], float | None]) -> Chunk | None:
    """What is new: in the rest of a renamed file, in those that were renamed after it, then in the current one.

    time_of: of a line, unix seconds; None: it has none. None: nothing is new, or someone may still write to a renamed
    file. Raises OSError for a file that is renamed, closed to us or gone while we look.
    """
    files, gone = _files(path, place, time_of)
    for file in files:
        with file.open("rb") as opened:
            chunk = _read(file, opened, place, gone)
            if chunk is not None:
                return chunk
            if file != path and time.time() - os.fstat(opened.fileno()).st_mtime < LINGER_S:
                return None
    return None


def _files(path: Path, place: Place | None, time_of: Callable[[bytes], float | None]) -> tuple[Sequence[Path], bool]:
    """The files that may hold something new, the oldest first, and whether that of the place is gone.

    Where it is, all are read from their beginning: those that were read before change nothing.
    """
    current = [path] if path.exists() else []
    if place is None or any(_is_that(file, place) for file in current):
        return current, False
    renamed = sorted(_renamed(path), key=lambda file: _age(file, time_of))
    known = next((number for number, file in enumerate(renamed) if _is_that(file, place)), None)
    return [*renamed[known or 0 :], *current], known is None


def _renamed(path: Path) -> Iterator[Path]:
    """Files beside a log that have its name and more, as rotation leaves them; compressed ones cannot be read on."""
    for file in path.parent.iterdir():
        more = file.name.removeprefix(path.name)
        if more != file.name and re.match(r"[._-].", more) and file.suffix not in _COMPRESSED and file.is_file():
            yield file


def _age(file: Path, time_of: Callable[[bytes], float | None]) -> tuple[float, int, str]:
    """By the first line; of the same moment, by the counts that rotation gives (the greater, the older) or by name.

    Not by the last change, since an old file may be written to last. It stands for a file without a line of a time.
    """
    count = file.suffix[1:]
    with file.open("rb") as opened:
        times = map(time_of, opened.read(CHUNK).splitlines())
        first = next((time for time in times if time is not None), os.fstat(opened.fileno()).st_mtime)
    return first, -int(count) if len(count) < 5 and count.isdecimal() else 0, file.name


def _is_that(file: Path, place: Place) -> bool:
    with file.open("rb") as opened:
        return _known(opened, place)


def _known(opened: BinaryIO, place: Place) -> bool:
    """Whether a file is the one of a place, and holds all that was read of it."""
    found = os.fstat(opened.fileno())
    if found.st_ino != place.inode or found.st_size < place.position:
        return False
    return _head(opened, int(place.head.partition(":")[0])) == place.head


def _head(opened: BinaryIO, length: int) -> str:
    opened.seek(0)
    return f"{length}:{hashlib.sha256(opened.read(length)).hexdigest()}"


def _read(file: Path, opened: BinaryIO, place: Place | None, gone: bool) -> Chunk | None:
    start = place.position if place is not None and _known(opened, place) else 0
    opened.seek(start)
    data = opened.read(CHUNK)
    lines = data[: data.rfind(b"\n") + 1]
    if not lines and len(data) == CHUNK:
        lines = data
    if not lines:
        return None
    behind = start + len(lines)
    inode = os.fstat(opened.fileno()).st_ino
    return Chunk(file, lines, Place(inode, behind, _head(opened, min(HEAD, behind))), gone)
