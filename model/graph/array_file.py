"""Arrays in .npy files that are written in strips and mapped, not read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from model.data.mapped_pages import drop_pages
from model.errors import UserError
from model.graph.mapped_reference import reference_of

Array = npt.NDArray[Any]
STRIP = 1 << 16
"""Rows that are written at a time."""


def save_array(path: Path, parts: Sequence[Array]) -> None:
    """The parts one behind the other, as one array."""
    _save(path, parts, (sum(len(part) for part in parts), *parts[0].shape[1:]))


def save_stacked(path: Path, parts: Sequence[Array]) -> None:
    """The parts, of one shape, along a new first dimension. Parts that lie in this file already are left there."""
    if (lies := reference_of(parts[0])) is not None and Path(lies.path) == path:
        return
    _save(path, parts, (len(parts), *parts[0].shape))


def _save(path: Path, parts: Sequence[Array], shape: tuple[int, ...]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        write_header(file, shape, parts[0].dtype)
        for part in parts:
            for start in range(0, len(part), STRIP):
                file.write(np.ascontiguousarray(part[start : start + STRIP]).data)
                drop_pages(part)


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Of an .npy file whose rows follow."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)


def load_array(path: Path) -> Array:
    """The array, mapped read-only. Raises UserError where the file is missing or not whole."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise UserError(f"{path}: missing; build the graph again") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a whole array ({error}); build the graph again") from None
