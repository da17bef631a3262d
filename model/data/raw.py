"""The rows of a raw log, batch by batch, with times in seconds and labels as arrays; nothing is encoded yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from model.data.dataset import Bool, Int64, UInt8
from model.data.place import LogPlace
from model.data.schema import LogSchema, TimeColumn
from model.errors import UserError

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


@dataclass(frozen=True)
class RawLog:
    """One log and its schema."""

    place: LogPlace
    schema: LogSchema

    def columns(self) -> tuple[str, ...]:
        """Columns that the schema asks of the labelled impressions."""
        log = self.schema.interactions
        context = (f.column for f in self.schema.features_of("context"))
        asked = (log.user, log.item, log.time.column, log.request, *self.schema.label_columns, *context)
        return tuple(dict.fromkeys(name for name in asked if name is not None))

    def history_columns(self) -> tuple[str, ...]:
        """Columns that the schema asks of the history."""
        history = self.schema.history
        if history is None:
            return ()
        time = None if history.time is None else history.time.column
        labels = (task.label_column for task in self.schema.tasks if task.name in history.tasks)
        asked = (history.user, history.item, history.order, time, *labels)
        return tuple(dict.fromkeys(name for name in asked if name is not None))

    def sources(self) -> dict[str, str]:
        """Which file of the labelled part holds each asked column. Raises UserError where none does."""
        log = self.schema.interactions
        held = {path: self.place.column_types(path) for path in (log.path, *log.alongside)}
        found: dict[str, str] = {}
        for column in self.columns():
            holders = [path for path, types in held.items() if column in types]
            if not holders:
                raise UserError(f"column {column} is in none of {', '.join(held)}; the schema asks for it")
            found[column] = holders[0]
        return found

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The labelled impressions, with the files alongside joined by position."""
        sources = self.sources()
        wanted = self.columns() if columns is None else columns
        paths = list(dict.fromkeys(sources[column] for column in wanted))
        streams = [self.place.batches(path, [c for c in wanted if sources[c] == path]) for path in paths]
        counts = {path: self.place.row_count(path) for path in paths}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{path} {rows:,}" for path, rows in counts.items())
            raise UserError(f"files alongside must hold the same rows in the same order; they hold: {said}")
        for frames in zip(*streams, strict=True):
            yield pl.concat(frames, how="horizontal")

    def history_batches(self) -> Iterator[pl.DataFrame]:
        """The history's rows; nothing where the schema names none."""
        if self.schema.history is not None:
            yield from self.place.batches(self.schema.history.path, self.history_columns())

    def seconds(self, batch: pl.DataFrame) -> Int64:
        """Unix seconds [N] of labelled impressions."""
        return in_seconds(batch, self.schema.interactions.time)

    def history_seconds(self, batch: pl.DataFrame) -> Int64 | None:
        """Unix seconds [N] of history rows, or None where the history has no time."""
        history = self.schema.history
        return None if history is None or history.time is None else in_seconds(batch, history.time)

    def labels(self, batch: pl.DataFrame) -> tuple[UInt8, Bool]:
        """labels uint8 [N, T] and observed bool [N, T] of labelled impressions."""
        return self._labels(batch, self.schema.task_names)

    def history_labels(self, batch: pl.DataFrame) -> tuple[UInt8, Bool]:
        """labels and observed of history rows; tasks that the history lacks are 0 and unobserved."""
        return self._labels(batch, self.schema.history.tasks if self.schema.history else ())

    def requests(self, batch: pl.DataFrame) -> Int64:
        """int64 [N], equal for equal request ids: integers as they are, anything else by a stable hash."""
        column = self.schema.interactions.request
        if column is None:
            raise UserError("the schema names no request column")
        raw = batch[column]
        if raw.dtype.is_integer():
            return raw.cast(pl.Int64).to_numpy()
        return raw.cast(pl.String).hash(seed=0).reinterpret(signed=True).to_numpy()

    def _labels(self, batch: pl.DataFrame, held: Sequence[str]) -> tuple[UInt8, Bool]:
        tasks = self.schema.tasks
        labels = np.zeros((len(batch), len(tasks)), dtype=np.uint8)
        observed = np.zeros((len(batch), len(tasks)), dtype=np.bool_)
        for place, task in enumerate(tasks):
            if task.name not in held:
                continue
            labels[:, place] = batch[task.label_column].cast(pl.UInt8, strict=False).fill_null(0).to_numpy()
            observed[:, place] = True
            if task.given is not None:
                given = self.schema.task_names.index(task.given)
                observed[:, place] = observed[:, given] & (labels[:, given] == 1)
                labels[~observed[:, place], place] = 0
        return labels, observed


def in_seconds(batch: pl.DataFrame, time: TimeColumn) -> Int64:
    """Unix seconds [N] of a numeric column in `time.unit`, or of a date-time column.

    Raises UserError where local date-times fall on a change of the zone's clocks.
    """
    raw = batch[time.column]
    if isinstance(raw.dtype, pl.Datetime):
        local = raw if raw.dtype.time_zone else _in_zone(raw, time)
        return local.dt.epoch("s").to_numpy().astype(np.int64)
    return (raw.to_numpy() // _PER_SECOND[time.unit]).astype(np.int64)


def _in_zone(local: pl.Series, time: TimeColumn) -> pl.Series:
    try:
        return local.dt.replace_time_zone(time.timezone)
    except pl.exceptions.ComputeError as error:
        raise UserError(
            f"time column {time.column} cannot be read in {time.timezone}, whose clocks change: "
            f"{str(error).partition('. ')[0]}; write date-times with a zone, or numbers"
        ) from None
