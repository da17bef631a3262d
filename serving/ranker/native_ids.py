"""Look-ups of a request's ids by native_ids.cpp: in the same mapped tables, without a NumPy call for every step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle.id_index import _BASES, IdIndex, Int32, _shift


class _Index(ctypes.Structure):
    """struct Index."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("text", "start", "hash", "code", "directory", "power")),
        *((name, ctypes.c_int64) for name in ("known", "longest", "start_bytes", "shift")),
        ("mixer", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class NativeIdIndex(IdIndex):
    """An IdIndex that asks the library. library: holds find_ids."""

    library: Path = Path()

    @staticmethod
    def over(index: IdIndex, library: Path) -> IdIndex:
        """The same tables; the index itself where they point outside one another. Raises OSError."""
        start, directory = index.start, index.directory
        fits = start[0] == 0 and (start[:-1] <= start[1:]).all() and directory[0] >= 0 and directory[-1] <= len(index)
        if not fits:
            return index
        native = NativeIdIndex(**{each.name: getattr(index, each.name) for each in fields(IdIndex)}, library=library)
        _ = native._call
        return native

    def find(self, ids: Sequence[str]) -> Int32:
        if len(self) == 0 or len(ids) == 0:
            return super().find(ids)
        # A lone surrogate, which JSON can spell, is no UTF-8: passed on as it is, it equals no known id.
        text = ("\0".join(ids) + "\0").encode("utf-8", "surrogatepass")
        code_N = np.empty(len(ids), dtype=np.int32)
        index, find_ids = self._call
        if find_ids(index, text, len(text), code_N.ctypes.data, len(ids)) != len(ids):
            return super().find(ids)  # an id holds a NUL itself
        return code_N

    @cached_property
    def _call(self) -> tuple[_Index, Any]:
        find_ids = ctypes.CDLL(str(self.library)).find_ids
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        find_ids.argtypes = (ctypes.POINTER(_Index), ctypes.c_char_p, count, pointer, count)
        find_ids.restype = count
        arrays = (self.text_C, self.start, self.hash_n, self.code_n, self.directory, self._powers)
        index = _Index(
            *(array.ctypes.data for array in arrays),
            *(len(self), len(self._powers), self.start.itemsize, int(_shift(self.directory)), _BASES[0]),
        )
        return index, find_ids
