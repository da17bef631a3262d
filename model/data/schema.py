"""The typed schema file of a log: which columns hold users, items, times, task labels and features.

A log is a folder (or an S3 prefix) of Parquet. Its schema is `schema.yaml` inside it, a file given by path, or one that
ships with mgoe under `model/data/schemas/<name>.yaml`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(_Strict):
    """One feedback task, weakest first. Source of `level`: MGOE (arXiv 2506.10520), ordered tasks t = 1..T."""

    name: str
    level: Annotated[int, Field(ge=1)]
    label: Literal["binary"] = "binary"
    column: str | None = None
    """Column of the label; the task's name when absent."""
    space: Literal["entire", "conditional"] = "entire"
    """`entire`: defined on every impression. `conditional`: only where `given` is 1."""
    given: str | None = None


class TimeColumn(_Strict):
    column: str
    unit: Literal["s", "ms", "us"] = "s"
    timezone: str = "UTC"
    """IANA zone that day boundaries and the hour of day are taken in."""


class LogFiles(_Strict):
    """The labelled impressions: a Parquet file or a folder of Parquet files, relative to the log."""

    path: str
    alongside: tuple[str, ...] = ()
    """Files whose rows stand in the same order as `path`'s: their columns are joined by position."""
    user: str
    item: str
    time: TimeColumn
    request: str | None = None


class History(_Strict):
    """Impressions before the labelled part. `order` sorts them within a user where there is no time."""

    path: str
    user: str
    item: str
    order: str | None = None
    time: TimeColumn | None = None
    tasks: tuple[str, ...]
    """Tasks whose labels the history holds; the rest are unobserved there."""


class NodeFile(_Strict):
    path: str
    key: str


class Feature(_Strict):
    """One input of the models.

    sparse: one category a row. multi: several (a list column, or text cut at `separator`). dense: a number.
    """

    name: str
    of: Literal["user", "item", "context"]
    kind: Literal["sparse", "multi", "dense"]
    column: str | None = None
    derive: Literal["hour_of_day", "day_of_week"] | None = None
    """Taken from the time column instead of a column of its own (context only)."""
    separator: str | None = None
    max_length: Annotated[int, Field(ge=1)] = 8
    transform: Literal["none", "log1p"] = "none"
    min_count: Annotated[int, Field(ge=1)] = 1
    """Categories seen less often in the training days become unknown."""


class Split(_Strict):
    """Global-time split. Either moments (in the log's zone) or fractions of the rows by time."""

    train_from: datetime | None = None
    validate_from: datetime | None = None
    test_from: datetime | None = None
    until: datetime | None = None
    validate_fraction: float = 0.1
    test_fraction: float = 0.1


class LogSchema(_Strict):
    version: Literal[1] = 1
    name: str
    interactions: LogFiles
    tasks: tuple[Task, ...]
    history: History | None = None
    users: NodeFile | None = None
    items: NodeFile | None = None
    features: tuple[Feature, ...] = ()
    split: Split = Split()

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)
