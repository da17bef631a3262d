"""Working arrays of a build: in memory, or mapped files whose space is free again as soon as nobody holds the array."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from model.errors import Fault
from model.graph.array_file import write_header
from model.graph.mapped_reference import ATTACHED, remember

OUT_OF_SCRATCH = "no space left for the graph's working files; free some or set TMPDIR"
OUT_OF_PLACE = "no space left for the graph; free some or write it elsewhere"
Array = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]


@dataclass
class Scratch:
    """Without a folder arrays lie in memory, else in files of it, which the system may page out.

    shared: the files keep their names, so that other processes can map them (model.graph.mapped_reference).
    """

    folder: Path | None
    shared: bool = False
    _made: int = field(default=0, init=False)
    _maps: weakref.WeakSet[mmap.mmap] = field(default_factory=weakref.WeakSet, init=False)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike, path: Path | None = None) -> Array:
        """path: makes of an array on disk the .npy file `path`, whose content is the array's at any time."""
        if self.folder is None or 0 in shape:
            return np.zeros(shape, dtype)
        if path is not None:
            return self._array_file(path, shape, np.dtype(dtype))
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        with disk_errors(self.folder):
            made = self.new_file()
            with made.file as file:
                os.posix_fallocate(file.fileno(), 0, size)
                return self.mapped(made, size).view(dtype).reshape(shape)

    def _array_file(self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        with disk_errors(path.parent, OUT_OF_PLACE):
            path.parent.mkdir(exist_ok=True)
            with path.open("w+b") as file:
                write_header(file, shape, dtype)
                begin = file.tell()
                os.posix_fallocate(file.fileno(), 0, begin + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
                file.flush()
                pages = mmap.mmap(file.fileno(), 0)
        self._maps.add(pages)
        remember(pages, path)
        return np.ndarray(shape, dtype, buffer=pages, offset=begin)

    def shown(self, array: Array) -> Array:
        """The array where other processes can map it, if there are any."""
        if not self.shared:
            return array
        copy = self.zeros(array.shape, array.dtype)
        copy[...] = array
        return copy

    def regions(self, dtype: npt.DTypeLike, most: Int64) -> Regions:
        """Arrays that grow side by side, of at most `most` [regions] elements each; on disk they share one file."""
        return Regions(self, np.dtype(dtype), most)

    def release(self) -> None:
        """Gives the memory of all mapped arrays back to the system. Their content stays in the files."""
        for pages in list(self._maps):
            pages.madvise(mmap.MADV_DONTNEED)

    def new_file(self) -> WorkingFile:
        """A new file; without a name but where it is shared, so that nothing is left behind even by a killed build."""
        if self.folder is None:
            raise RuntimeError("arrays in memory have no file")
        self._made += 1
        path = self.folder / f"{self._made}.array"
        made = WorkingFile(path.open("w+b"))
        if self.shared:
            weakref.finalize(made, path.unlink, missing_ok=True).atexit = False  # the folder goes as a whole
        else:
            path.unlink()
        return made

    def mapped(self, made: WorkingFile, size: int) -> npt.NDArray[np.uint8]:
        pages = mmap.mmap(made.file.fileno(), size)
        self._maps.add(pages)
        if self.shared:
            remember(pages, Path(made.file.name))
            _KEPT_BY[pages] = made
        return np.ndarray((size,), np.uint8, buffer=pages)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "shared": self.shared, "_made": self._made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _maps=ATTACHED)


@dataclass(frozen=True, eq=False)
class WorkingFile:
    """A file that lasts as long as somebody holds this. In the process that made it, where it has a name, the name goes
    with it."""

    file: IO[bytes]


_KEPT_BY: weakref.WeakKeyDictionary[mmap.mmap, WorkingFile] = weakref.WeakKeyDictionary()
"""The files of mapped arrays, whose names last as long as the map does."""


class Regions:
    """Several one-dimensional arrays, each appended to from its beginning on and read when it is whole.

    On disk they lie in one sparse file, each at its own place, so that any number of them costs one open file.
    """

    def __init__(self, scratch: Scratch, dtype: np.dtype[Any], most: Int64) -> None:
        self._scratch, self.dtype = scratch, dtype
        self._start: Int64 = np.concatenate([[0], np.cumsum(most)])
        self._length: Int64 = scratch.zeros((len(most),), np.int64) if scratch.shared else np.zeros(len(most), np.int64)
        self._pieces: list[list[Array]] = [[] for _ in most]
        self._made: WorkingFile | None = None
        self._all: Array | None = None
        if scratch.folder is not None:
            self._made = scratch.new_file()
            weakref.finalize(self, self._made.file.close)

    def __getstate__(self) -> dict[str, Any]:
        if self._made is None or not self._scratch.shared:
            raise RuntimeError("regions without a named file stay in their process")
        return self.__dict__ | {"_made": self._made.file.name, "_all": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        file = Path(state["_made"]).open("r+b")  # noqa: SIM115 (closed with the regions)
        self.__dict__.update(state, _made=WorkingFile(file))
        weakref.finalize(self, file.close)

    def begin(self, number: int) -> None:
        """Forgets what was appended to a region, as before another attempt at it."""
        self._length[number] = 0
        self._pieces[number] = []

    def append(self, number: int, piece: Array) -> None:
        """Threads may append to different regions at a time."""
        piece = np.ascontiguousarray(piece, self.dtype)
        reached = int(self._start[number] + self._length[number])
        if reached + len(piece) > self._start[number + 1]:
            raise RuntimeError(f"region {number} is full: {len(piece)} more elements have no place in it")
        self._length[number] += len(piece)
        if self._made is None or self._scratch.folder is None:
            self._pieces[number].append(piece)
            return
        with disk_errors(self._scratch.folder):
            _write(self._made.file, piece, reached * self.dtype.itemsize)

    def read(self, number: int) -> Array:
        """A copy of the region in memory."""
        if self._made is None:
            return self.whole(number)
        found = np.empty(self._length[number], self.dtype)
        self.read_into(number, 0, found)
        return found

    def read_into(self, number: int, first: int, found: Array) -> None:
        """Fills an array [*] with the elements of a region from `first` on. On disk only."""
        if self._made is None:
            raise RuntimeError("regions in memory are read whole")
        rest = found.view(np.uint8).data
        offset = (int(self._start[number]) + first) * self.dtype.itemsize
        while len(rest) > 0:
            with disk_errors(self._scratch.folder or Path()):
                done = os.preadv(self._made.file.fileno(), [rest], offset)
            if done == 0:
                raise Fault(f"{self._scratch.folder}: a working file of the graph was cut off")
            rest, offset = rest[done:], offset + done

    def whole(self, number: int) -> Array:
        """The region, mapped where it lies on disk; nothing may be appended to any of them after."""
        if self._made is None:
            if len(self._pieces[number]) != 1:
                self._pieces[number] = [np.concatenate([np.zeros(0, self.dtype), *self._pieces[number]])]
            return self._pieces[number][0]
        if self._all is None:
            size = int(self._start[-1]) * self.dtype.itemsize
            # the places that were not written read as zeros and take no space
            os.truncate(self._made.file.fileno(), size)
            empty = np.zeros(0, self.dtype)
            self._all = self._scratch.mapped(self._made, size).view(self.dtype) if size else empty
        start = int(self._start[number])
        return self._all[start : start + int(self._length[number])]


def _write(file: IO[bytes], piece: Array, offset: int) -> None:
    rest = piece.view(np.uint8).data
    while len(rest) > 0:
        done = os.pwrite(file.fileno(), rest, offset)
        rest, offset = rest[done:], offset + done


@contextmanager
def disk_errors(folder: Path, full: str = OUT_OF_SCRATCH) -> Iterator[None]:
    """What the disk refuses is a fault in one line; it must not surface later as a bus error of a mapped file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Fault(f"{folder}: {full}") from error
        raise Fault(f"{folder}: {error.strerror or error} ({type(error).__name__})") from error


@contextmanager
def scratch(on_disk: bool, *, shared: bool = False) -> Iterator[Scratch]:
    """Memory, or a temporary folder. The folder goes when the block ends; arrays stay readable."""
    if not on_disk:
        yield Scratch(None)
        return
    folder = Path(tempfile.mkdtemp(prefix="mgoe-graph-"))
    try:
        yield Scratch(folder, shared)
    finally:
        shutil.rmtree(folder)
