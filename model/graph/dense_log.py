"""A raw log whose ids are dense integers as a source of events: node index = id + 1, and nothing is encoded.

For logs too long to be ingested: rows are streamed from their Parquet files, sizes come from the files' statistics.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from model.data.place import open_place
from model.data.schema import LogSchema, Split
from model.data.schema_file import resolve_schema
from model.errors import UserError
from model.graph.events import Catalogue, EventColumns, ParquetEvents, Span, open_parquet

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
_MOST_NODES = 2**31 - 2


def dense_log(folder: Path, schema: str | None = None, *, split: bool = True) -> ParquetEvents:
    """The labelled part of the raw log in `folder`: the rows that the schema's split does not leave out.

    split: without it all rows, as of a log that continues another. Raises UserError where ids are no integers from 0
    on, or the schema asks for what only ingestion gives.
    """
    described = resolve_schema(open_place(str(folder)), schema)
    _refuse_what_needs_ingestion(described, split=split)
    log = described.interactions
    path = folder / log.path
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise UserError(f"log {folder} has no Parquet file {log.path}")
    per_second = _PER_SECOND[log.time.unit]
    users, items = _largest(files, log.user), _largest(files, log.item)
    first, last = _range(files, log.time.column)
    first, last = first // per_second, last // per_second
    zone, cut = ZoneInfo(log.time.timezone), described.split if split else Split()
    start = _seconds(cut.train_from, zone) if cut.train_from else first
    end = min(_seconds(cut.until, zone) if cut.until else last + 1, last + 1)
    if max(start, first) >= end:
        raise UserError(f"log {folder}: no row lies between the split's train_from and until")
    return ParquetEvents(
        path,
        Catalogue(
            tasks=described.task_names,
            levels=tuple(task.level for task in described.tasks),
            n_users=users + 2,
            n_items=items + 2,
        ),
        Span(
            has_history=False,
            train_from=start,
            validate_from=_seconds(cut.validate_from, zone) if cut.validate_from else end,
            end=end,
            timezone=log.time.timezone,
        ),
        columns=EventColumns(
            log.user, log.item, log.time.column, described.label_columns, first_id=1, per_second=per_second
        ),
        within=None if start <= first and end == last + 1 else (start, end),
    )


def _refuse_what_needs_ingestion(schema: LogSchema, *, split: bool) -> None:
    conditional = [task.name for task in schema.tasks if task.space == "conditional"]
    for found, what in (
        (schema.history is not None, "a history"),
        (bool(schema.interactions.alongside), "files alongside"),
        (bool(conditional), f"the conditional task {', '.join(conditional)}"),
        (split and schema.split.validate_from is None, "a split by fractions"),
    ):
        if found:
            raise UserError(f"log {schema.name} has {what}: ingest it first and build the graph from the log artifact")


def _largest(files: list[Path], column: str) -> int:
    low, high = _range(files, column)
    if low < 0 or high > _MOST_NODES:
        raise UserError(
            f"column {column} holds ids {low} to {high}; dense ids run from 0 to at most {_MOST_NODES}: ingest the log"
        )
    return high


def _range(files: list[Path], column: str) -> tuple[int, int]:
    """Smallest and largest value of an integer column, from the statistics of every row group."""
    lows: list[int] = []
    highs: list[int] = []
    for path in files:
        metadata = open_parquet(path).metadata
        place = {metadata.schema.column(number).path: number for number in range(metadata.num_columns)}.get(column)
        if place is None:
            raise UserError(f"{path}: missing column {column!r}")
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(place).statistics
            if (
                found is None
                or not found.has_min_max
                or not isinstance(found.min, int)
                or found.null_count
                or found.max is None
            ):
                raise UserError(f"{path}: column {column} is not whole numbers with statistics: ingest the log first")
            lows.append(found.min)
            highs.append(int(found.max))
    if not lows:
        raise UserError(f"{files[0].parent}: the log has no rows")
    return min(lows), max(highs)


def _seconds(moment: datetime, zone: ZoneInfo) -> int:
    return int(moment.replace(tzinfo=zone).timestamp())
