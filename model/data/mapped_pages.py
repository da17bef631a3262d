"""Memory of mapped files: what was read or written of one counts as the process's own until it is given back."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def drop_pages(array: npt.NDArray[Any]) -> None:
    """Gives the pages of the file below `array` back to the system, where there is one; its content stays in the file.

    Works for shared mappings, which is what numpy maps by any mode but `c`.
    """
    below: object = array
    while isinstance(below, np.ndarray):
        if isinstance(below, np.memmap) and below.mode == "c":
            return
        below = below.base
    if isinstance(below, mmap.mmap):
        below.madvise(mmap.MADV_DONTNEED)
