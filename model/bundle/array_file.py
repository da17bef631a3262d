""".npy files of a bundle: written compactly, mapped on load, never pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import UserError

Array = npt.NDArray[Any]

_SIGNED = (np.int8, np.int16, np.int32, np.int64)


def compact(array: Array) -> Array:
    """The same values in the smallest type that holds every one of them exactly.

    Integers: int8 to int64 (torch has no look-ups by the unsigned types). Floats: float16 or float32.
    """
    if np.issubdtype(array.dtype, np.integer):
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        smallest = next(kind for kind in _SIGNED if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        return array.astype(smallest)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(array.dtype), array) else array.astype(np.float32)


def save_array(path: Path, array: Array) -> None:
    """Writes `array`, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def load_array(path: Path) -> Array:
    """The array in `path`, mapped. Raises UserError, naming the file, where it holds none.

    Mode "c" maps privately: processes share the file's pages as with "r", and what is written stays with the writer and
    never reaches the file. torch takes such an array without a copy, and without a warning that it cannot be written.
    """
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"bundle file {path} holds no array: {error}") from None
