"""Working arrays of a build: in memory, or mapped files whose space is free again as soon as nobody holds the array."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from model.errors import Fault


@dataclass
class Scratch:
    """Without a folder arrays lie in memory, else in files of it, which the system may page out."""

    folder: Path | None
    _made: int = field(default=0, init=False)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        if self.folder is None or 0 in shape:
            return np.zeros(shape, dtype)
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        path = self.name()
        with disk_errors(self.folder), path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return _mapped(path, np.dtype(dtype), shape)

    def growing(self, dtype: npt.DTypeLike) -> Growing:
        """An array that is written from its beginning on and read when it is whole."""
        return Growing(np.dtype(dtype), None if self.folder is None else self.name())

    def name(self) -> Path:
        """A path in the folder that no other array has."""
        if self.folder is None:
            raise RuntimeError("arrays in memory have no path")
        self._made += 1
        return self.folder / f"{self._made}.array"


class Growing:
    """A one-dimensional array of unknown length, appended to in pieces."""

    def __init__(self, dtype: np.dtype[Any], path: Path | None) -> None:
        self._dtype, self._path = dtype, path
        self._pieces: list[npt.NDArray[Any]] = []
        self._file: IO[bytes] | None = None if path is None else path.open("wb")
        self._length = 0

    def append(self, piece: npt.NDArray[Any]) -> None:
        self._length += len(piece)
        if self._path is None or self._file is None:
            self._pieces.append(piece.astype(self._dtype, copy=False))
            return
        with disk_errors(self._path.parent):
            piece.astype(self._dtype, copy=False).tofile(self._file)

    def whole(self) -> npt.NDArray[Any]:
        """All pieces as one; nothing may be appended after."""
        if self._path is None or self._file is None:
            return np.concatenate([np.zeros(0, self._dtype), *self._pieces])
        with disk_errors(self._path.parent):
            self._file.close()
        if self._length == 0:
            self._path.unlink()
            return np.zeros(0, self._dtype)
        return _mapped(self._path, self._dtype, (self._length,))


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The file as an array that outlives its name: the system keeps its space until the array is dropped."""
    array = np.memmap(path, dtype=dtype, mode="r+", shape=shape)
    path.unlink()
    return array


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
