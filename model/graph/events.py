"""Where a graph's interactions come from: an encoded log in memory, or Parquet streamed in chunks.

An event is one impression: its pair of node indices, the mask of its positives, its time, and the mask of the tasks
whose labels are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from model.data.dataset import Dataset, Interactions
from model.data.mapped_pages import drop_pages
from model.errors import UserError
from model.graph.ranking import Mask, known_of, mask_of

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
CHUNK_ROWS = 1 << 18
PIECE_ROWS = 1 << 22
"""Of what one worker reads at a time, about."""
_READ_BYTES = 1 << 20
"""Of a column at a time: without it pyarrow holds whole columns of a row group."""


@dataclass(frozen=True)
class Events:
    """user, item: int32 [N], 0 = unknown node. mask, known: uint32 [N]. time: int64 [N], unix seconds."""

    user: Int32
    item: Int32
    mask: Mask
    time: Int64
    known: Mask

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Span:
    """When the parts of the log begin and end, unix seconds; `end` is one past the last row. timezone: IANA name."""

    has_history: bool
    train_from: int
    validate_from: int
    end: int
    timezone: str


@dataclass(frozen=True)
class Catalogue:
    """What a log says besides its events. n_users, n_items: with row 0. item_category: codes [n_items], 0 = unknown."""

    tasks: tuple[str, ...]
    levels: tuple[int, ...]
    n_users: int
    n_items: int
    item_category: Int32 | None = None
    n_categories: int = 0


class Piece(Protocol):
    """Consecutive rows of a log, read by one worker. rows: at most so many."""

    @property
    def rows(self) -> int: ...

    def chunks(self, *, labels: bool = True) -> Iterator[Events]:
        """All events in order. labels: False leaves every mask and known 0, for passes that read neither."""
        ...


class EventSource(Protocol):
    """A log that can be read more than once, in pieces. Equal times keep the order of reading."""

    @property
    def catalogue(self) -> Catalogue: ...

    @property
    def span(self) -> Span: ...

    @property
    def rows(self) -> int: ...

    def pieces(self) -> list[Piece]:
        """The log in order."""
        ...


@dataclass(frozen=True)
class DatasetPiece:
    """Rows of a part of an encoded log."""

    part: Interactions

    @property
    def rows(self) -> int:
        return len(self.part)

    def chunks(self, *, labels: bool = True) -> Iterator[Events]:
        part = self.part
        for start in range(0, len(part), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            mask = known = np.zeros(len(part.user[rows]), np.uint32)
            if labels:
                mask, known = mask_of(part.labels[rows], part.observed[rows]), known_of(part.observed[rows])
            yield Events(part.user[rows], part.item[rows], mask, part.time[rows], known)
            for array in (part.user, part.item, part.time, part.labels, part.observed):
                drop_pages(array)


@dataclass(frozen=True)
class DatasetEvents:
    """The encoded log as events: history, then train, validate, test."""

    dataset: Dataset
    category_feature: str | None = None

    @property
    def catalogue(self) -> Catalogue:
        schema = self.dataset.schema
        category = None
        if self.category_feature is not None:
            category = _item_feature(self.dataset, self.category_feature)
        return Catalogue(
            tasks=schema.task_names,
            levels=tuple(task.level for task in schema.tasks),
            n_users=len(self.dataset.users),
            n_items=len(self.dataset.items),
            item_category=category,
            n_categories=0 if category is None else int(category.max(initial=0)),
        )

    @property
    def span(self) -> Span:
        train, validate, test = self.dataset.train, self.dataset.validate, self.dataset.test
        if len(train) == 0:
            raise UserError("the log has no training rows: a macro graph needs at least one")
        after_train = int(train.time.max()) + 1
        end = max([after_train] + [int(part.time.max()) + 1 for part in (validate, test) if len(part)])
        return Span(
            has_history=self.dataset.history is not None and len(self.dataset.history) > 0,
            train_from=int(train.time.min()),
            validate_from=int(validate.time.min()) if len(validate) else after_train,
            end=end,
            timezone=schema_timezone(self.dataset),
        )

    @property
    def rows(self) -> int:
        return sum(len(part) for part in self._parts())

    def _parts(self) -> tuple[Interactions, ...]:
        parts = (self.dataset.history, self.dataset.train, self.dataset.validate, self.dataset.test)
        return tuple(part for part in parts if part is not None)

    def pieces(self) -> list[Piece]:
        return [
            DatasetPiece(part.take(slice(start, start + PIECE_ROWS)))
            for part in self._parts()
            for start in range(0, len(part), PIECE_ROWS)
        ]


def events_of(source: EventSource, *, labels: bool = True) -> Iterator[Events]:
    """All events of a log, in order."""
    for piece in source.pieces():
        yield from piece.chunks(labels=labels)


def schema_timezone(dataset: Dataset) -> str:
    """IANA zone that the log's days begin in."""
    return dataset.schema.interactions.time.timezone


def _item_feature(dataset: Dataset, name: str) -> Int32:
    """Codes [n_items] of a sparse item feature. UserError: no such feature."""
    sparse = [f.name for f in dataset.schema.features if f.of == "item" and f.kind == "sparse"]
    if name not in sparse:
        known = ", ".join(sparse) or "none"
        raise UserError(f"category_feature: {name!r} is no sparse item feature of the log (known: {known})")
    codes: Int32 = np.ascontiguousarray(dataset.items.features.sparse[:, sparse.index(name)])
    return codes


@dataclass(frozen=True)
class EventColumns:
    """Where a Parquet log keeps what. first_id: node index of the id 0. per_second: the time's ticks."""

    user: str
    item: str
    time: str
    labels: tuple[str, ...]
    first_id: int = 0
    per_second: int = 1


@dataclass(frozen=True)
class ParquetEvents:
    """Events on disk: a Parquet file, or the files of a folder in name order, read a chunk at a time.

    columns: without them `user`, `item` (node indices), `time` (unix seconds) and one column per task. Labels are 0 or
    1, null = unobserved. within: rows of other seconds (from, up to but not including) are left out.
    """

    path: Path
    catalogue: Catalogue
    span: Span
    batch_rows: int = CHUNK_ROWS
    columns: EventColumns | None = None
    within: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        return sum(int(open_parquet(path).metadata.num_rows) for path in self.files())

    def pieces(self) -> list[Piece]:
        columns = self.columns or EventColumns("user", "item", "time", self.catalogue.tasks)
        return [
            ParquetPiece(path, groups, rows, self.batch_rows, columns, self.within)
            for path in self.files()
            for groups, rows in _row_groups(path)
        ]

    def files(self) -> list[Path]:
        """In the order of reading. Raises UserError where there is none."""
        files = [self.path] if self.path.is_file() else sorted(self.path.rglob("*.parquet"))
        if not files:
            raise UserError(f"{self.path}: no Parquet file in it")
        return files


@dataclass(frozen=True)
class ParquetPiece:
    """Neighbouring row groups of a Parquet file; fields as in ParquetEvents."""

    path: Path
    groups: tuple[int, ...]
    rows: int
    batch_rows: int
    columns: EventColumns
    within: tuple[int, int] | None

    def chunks(self, *, labels: bool = True) -> Iterator[Events]:
        file, names = open_parquet(self.path), self.columns.labels if labels else ()
        wanted = [self.columns.user, self.columns.item, self.columns.time, *names]
        missing = [name for name in wanted if name not in file.schema_arrow.names]
        if missing:
            raise UserError(f"{self.path}: missing column {missing[0]!r}")
        for batch in self._batches(file, wanted):
            events = _decode(batch, self.path, self.columns, names)
            yield events if self.within is None else _between(events, *self.within)

    def _batches(self, file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            yield from file.iter_batches(batch_size=self.batch_rows, row_groups=list(self.groups), columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(self.path, error) from None


def _row_groups(path: Path) -> Iterator[tuple[tuple[int, ...], int]]:
    """Neighbouring row groups of a file with about PIECE_ROWS rows together, and how many they have."""
    metadata = open_parquet(path).metadata
    groups: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        rows += int(metadata.row_group(group).num_rows)
        if rows >= PIECE_ROWS or group == metadata.num_row_groups - 1:
            yield tuple(groups), rows
            groups, rows = [], 0


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file, its footer read. Raises UserError where it is no whole Parquet file."""
    try:
        return pq.ParquetFile(path, buffer_size=_READ_BYTES)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}")


def _decode(batch: pa.RecordBatch, path: Path, columns: EventColumns, labels: tuple[str, ...]) -> Events:
    mask, known = (np.zeros(batch.num_rows, dtype=np.uint32) for _ in range(2))
    for bit, name in enumerate(labels):
        column = batch.column(name)
        known |= column.is_valid().to_numpy(zero_copy_only=False).astype(np.uint32) << np.uint32(bit)
        mask |= _positive(column, name, path).astype(np.uint32) << np.uint32(bit)
    time = _integers(batch, columns.time)
    return Events(
        user=(_integers(batch, columns.user) + columns.first_id).astype(np.int32),
        item=(_integers(batch, columns.item) + columns.first_id).astype(np.int32),
        mask=mask,
        time=time if columns.per_second == 1 else time // columns.per_second,
        known=known,
    )


def _integers(batch: pa.RecordBatch, name: str) -> Int64:
    """As int64: an id is one off its node index, which a narrow column may have no room for."""
    values: Int64 = batch.column(name).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return values


def _positive(column: pa.Array[Any], name: str, path: Path) -> npt.NDArray[np.bool_]:
    """Where a label is 1. Raises UserError where one is neither 0 nor 1 nor null."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        raise UserError(f"{path}: label {name} holds {column.type}; labels are 0, 1 or null")
    label = column.fill_null(0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((label != 0) & (label != 1))
    if len(wrong):
        raise UserError(f"{path}: label {name} holds {label[wrong[0]]}; labels are 0, 1 or null")
    return np.asarray(label == 1)


def _between(events: Events, first: int, end: int) -> Events:
    inside = (events.time >= first) & (events.time < end)
    if inside.all():
        return events
    return Events(
        events.user[inside], events.item[inside], events.mask[inside], events.time[inside], events.known[inside]
    )
