"""Arrays that lie in files, told to another process by the place in the file instead of by their content."""

from __future__ import annotations

import mmap
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_FILE_OF: weakref.WeakKeyDictionary[mmap.mmap, Path] = weakref.WeakKeyDictionary()
_MAP_OF: weakref.WeakValueDictionary[tuple[str, bool], mmap.mmap] = weakref.WeakValueDictionary()
ATTACHED: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""Maps that this process made of files that another one named."""


class Reference(NamedTuple):
    """offset: bytes from the file's beginning."""

    path: str
    writable: bool
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def remember(pages: mmap.mmap, path: Path) -> None:
    """That the pages, from their first on, are the file's."""
    _FILE_OF[pages] = path.absolute()


def reference_of(array: Array) -> Reference | None:
    """Where the array lies; None where it lies in memory alone, or has no size."""
    if array.size == 0 or array.dtype.hasobject:
        return None
    below: Any = array
    mapped: np.memmap[Any, Any] | None = None
    while isinstance(below, np.ndarray):
        mapped = below if isinstance(below, np.memmap) else mapped
        below = below.base
    if not isinstance(below, mmap.mmap):
        return None
    if mapped is not None and mapped.filename is not None:
        path, begin = Path(str(mapped.filename)), mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY
    elif (found := _FILE_OF.get(below)) is not None:
        path, begin = found, 0
    else:
        return None
    offset = begin + _address(array) - _address(np.frombuffer(below, np.uint8))
    return Reference(str(path), mapped is None, offset, array.dtype, array.shape, array.strides)


def attach(reference: Reference) -> Array:
    """The array, mapped in this process; one map a file."""
    key = (reference.path, reference.writable)
    if (pages := _MAP_OF.get(key)) is None:
        access = mmap.ACCESS_WRITE if reference.writable else mmap.ACCESS_READ
        with Path(reference.path).open("r+b" if reference.writable else "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=access)
        _MAP_OF[key] = pages
        ATTACHED.add(pages)
        if reference.writable:
            remember(pages, Path(reference.path))
    return np.ndarray(
        reference.shape, reference.dtype, buffer=pages, offset=reference.offset, strides=reference.strides
    )


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
