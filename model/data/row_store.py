"""Encoded rows on their way into a log artifact: batches go to their place in time, on disk or in memory.

Where a row belongs follows from how many rows every second has and how many of its second came before it, so rows that
come in any order are sorted without being held.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.data.dataset import Columns, Int64, Interactions
from model.data.mapped_pages import drop_pages
from model.data.schema import LogSchema
from model.data.time_counts import TimeCounts


class TimeOrder:
    """Places of rows in the order of time; of equal times the one that comes first stands first."""

    def __init__(self, times: TimeCounts) -> None:
        self._second = times.seconds
        self._next = np.cumsum(times.counts) - times.counts

    def places(self, time_N: Int64) -> Int64:
        """Of the next rows [N], all of known seconds."""
        at = np.searchsorted(self._second, time_N)
        order = np.argsort(at, kind="stable")
        ordered = at[order]
        first = np.flatnonzero(np.diff(ordered, prepend=-1))
        run = np.diff(np.append(first, len(ordered)))
        places = np.empty(len(at), np.int64)
        places[order] = self._next[ordered] + np.arange(len(ordered)) - np.repeat(first, run)
        self._next[ordered[first]] += run
        return places


class RowStore:
    """Rows of one part of the split. With a folder its arrays are the artifact's own files, written as they come."""

    def __init__(self, schema: LogSchema, rows: int, folder: Path | None, *, request: bool) -> None:
        n_tasks = len(schema.tasks)
        kinds = {kind: schema.features_of("context", kind) for kind in ("sparse", "dense", "multi")}

        def new(name: str, dtype: npt.DTypeLike, *width: int) -> npt.NDArray[Any]:
            shape = (rows, *width)
            if folder is None or 0 in shape:
                return np.zeros(shape, dtype)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.npy"
            array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            with path.open("r+b") as file:  # a sparse file on a full disk would end the process by a bus error
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            return array

        self.rows = Interactions(
            user=new("user", np.int32),
            item=new("item", np.int32),
            time=new("time", np.int64),
            labels=new("labels", np.uint8, n_tasks),
            observed=new("observed", np.bool_, n_tasks),
            context=Columns(
                sparse=new("sparse", np.int32, len(kinds["sparse"])),
                dense=new("dense", np.float32, len(kinds["dense"])),
                multi=tuple(
                    new(f"multi_{place}", np.int32, feature.max_length) for place, feature in enumerate(kinds["multi"])
                ),
            ),
            request=new("request", np.int64) if request else None,
        )

    def put(self, batch: Interactions, places: Int64) -> None:
        """Rows [N] of a batch go to `places` [N]."""
        for whole, part in zip(_arrays(self.rows), _arrays(batch), strict=True):
            whole[places] = part
            drop_pages(whole)


def _arrays(rows: Interactions) -> list[npt.NDArray[Any]]:
    context = rows.context
    request: list[npt.NDArray[Any]] = [] if rows.request is None else [rows.request]
    fixed: list[npt.NDArray[Any]] = [
        rows.user,
        rows.item,
        rows.time,
        rows.labels,
        rows.observed,
        context.sparse,
        context.dense,
    ]
    return [*fixed, *context.multi, *request]
