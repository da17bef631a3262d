"""The typed schema file of a log: which columns hold users, items, times, task labels and features.

A log is a folder (or an S3 prefix) of Parquet. Its schema is `schema.yaml` inside it, a file given by path, or one that
ships with mgoe under `model/data/schemas/<name>.yaml`. Reading and resolving it is `model.data.schema_file`.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


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

    @property
    def label_column(self) -> str:
        return self.column or self.name

    @model_validator(mode="after")
    def _given_goes_with_conditional(self) -> Self:
        if self.space == "conditional" and self.given is None:
            raise ValueError(f"task {self.name} is conditional and needs `given`, the task it depends on")
        if self.space == "entire" and self.given is not None:
            raise ValueError(f"task {self.name} has given: {self.given}, which needs space: conditional")
        return self


class TimeColumn(_Strict):
    """When a row happened: a column of numbers or of date-times."""

    column: str
    unit: Literal["s", "ms", "us"] = "s"
    """Of numbers since 1970-01-01 UTC."""
    timezone: str = "UTC"
    """IANA zone that day boundaries and the hour of day are taken in."""

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{zone!r} is no IANA time zone; write one like UTC or Asia/Shanghai") from None
        return zone


class LogFiles(_Strict):
    """The labelled impressions: a Parquet file or a folder of Parquet files, relative to the log."""

    path: str
    alongside: tuple[str, ...] = ()
    """Files whose rows stand in the same order as `path`'s: their columns are joined by position."""
    user: str
    item: str
    time: TimeColumn
    request: str | None = None
    order: Literal["time", "any"] = "time"
    """`time`: rows stand oldest first, anything else is an error. `any`: ingest sorts them by time."""
    duplicates: Literal["refuse", "keep"] = "refuse"
    """Rows of equal user, item and time: an error, or impressions of their own (a log with coarse times)."""


class HistoryReplay(_Strict):
    """Trains on the last rows of every user's history as well: on `days` stand-in days of `rows_a_day` rows each."""

    days: Annotated[int, Field(ge=1)] = 2
    rows_a_day: Annotated[int, Field(ge=1)] = 10


class History(_Strict):
    """Impressions before the labelled part. `order` sorts them within a user where there is no time."""

    path: str
    user: str
    item: str
    order: str | None = None
    time: TimeColumn | None = None
    tasks: tuple[str, ...]
    """Tasks whose labels the history holds; the rest are unobserved there."""
    replay: HistoryReplay | None = None
    """Rows of the history to train on, where it has an order and no times; none by default."""

    @model_validator(mode="after")
    def _replay_goes_with_order(self) -> Self:
        if self.replay is not None and (self.order is None or self.time is not None):
            raise ValueError(
                "history.replay is for a history with `order` and without `time`; rows with times that should be "
                "trained on belong among the interactions"
            )
        return self


class NodeFile(_Strict):
    """A Parquet file of users or of items, one row a node, that holds their features."""

    path: str
    key: str
    """Column of the raw id."""


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

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        if (self.column is None) == (self.derive is None):
            raise ValueError(f"feature {self.name} needs either `column` or `derive`, one of the two")
        if self.derive is not None and (self.of != "context" or self.kind != "sparse"):
            raise ValueError(f"feature {self.name} has derive: {self.derive}, which needs of: context and kind: sparse")
        if self.separator is not None and self.kind != "multi":
            raise ValueError(f"feature {self.name} has a separator, which needs kind: multi, not {self.kind}")
        if self.separator == "":
            raise ValueError(f"feature {self.name} has an empty separator; write the text between two values")
        if self.transform != "none" and self.kind != "dense":
            raise ValueError(f"feature {self.name} has transform: {self.transform}, which needs kind: dense")
        return self


class Split(_Strict):
    """Global-time split. Either moments (in the log's zone) or fractions of the rows by time."""

    train_from: datetime | None = None
    validate_from: datetime | None = None
    test_from: datetime | None = None
    until: datetime | None = None
    validate_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _moments_ascend(self) -> Self:
        if (self.validate_from is None) != (self.test_from is None):
            raise ValueError("validate_from and test_from go together; write both, or neither for fractions")
        names = ("train_from", "validate_from", "test_from", "until")
        given = [(name, moment) for name in names if (moment := getattr(self, name)) is not None]
        for name, moment in given:
            if moment.tzinfo is not None:
                raise ValueError(f"{name} {moment} carries a zone; write it in the log's own zone, without an offset")
        for (before, early), (after, late) in pairwise(given):
            if early >= late:
                raise ValueError(f"{after} {late} must be later than {before} {early}")
        if self.validate_from is None and self.validate_fraction + self.test_fraction >= 1:
            raise ValueError("validate_fraction and test_fraction leave nothing to train on; their sum must be below 1")
        return self


class LogSchema(_Strict):
    """What a log holds and how it is read. Raises ValueError (pydantic) where its parts contradict each other."""

    version: Literal[1] = 1
    name: str
    interactions: LogFiles
    tasks: tuple[Task, ...]
    history: History | None = None
    users: NodeFile | None = None
    items: NodeFile | None = None
    features: tuple[Feature, ...] = ()
    split: Split = Split()
    rates: Literal["daily", "none"] = "daily"
    """`daily`: ingest adds HistoryRates (days x nodes x tasks numbers). `none`: it does not, for very large logs."""

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    @property
    def label_columns(self) -> tuple[str, ...]:
        return tuple(task.label_column for task in self.tasks)

    def features_of(self, owner: str, kind: str | None = None) -> tuple[Feature, ...]:
        """Features of `user`, `item` or `context`, in file order: the order of the columns of `Columns`."""
        return tuple(f for f in self.features if f.of == owner and kind in (None, f.kind))

    @model_validator(mode="after")
    def _tasks_agree(self) -> Self:
        if not self.tasks:
            raise ValueError("tasks is empty; a log needs at least one task")
        _refuse_twice("task", self.task_names)
        _refuse_twice("label column", self.label_columns)
        for weaker, stronger in pairwise(self.tasks):
            if stronger.level < weaker.level:
                raise ValueError(
                    f"task {stronger.name} has level {stronger.level} below {weaker.name}'s {weaker.level}; "
                    "list tasks from the weakest to the strongest"
                )
        for place, task in enumerate(self.tasks):
            earlier = self.task_names[:place]
            if task.given is not None and task.given not in earlier:
                raise ValueError(
                    f"task {task.name} has given: {task.given}, which is no earlier task; "
                    f"earlier ones are: {', '.join(earlier) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _history_agrees(self) -> Self:
        if self.history is None:
            return self
        _refuse_twice("history task", self.history.tasks)
        for name in self.history.tasks:
            if name not in self.task_names:
                raise ValueError(
                    f"history.tasks names {name}, which is no task; tasks are: {', '.join(self.task_names)}"
                )
        for task in self.tasks:
            if task.name in self.history.tasks and task.given is not None and task.given not in self.history.tasks:
                raise ValueError(f"history.tasks has {task.name} without {task.given}, the task it is conditional on")
        return self

    @model_validator(mode="after")
    def _features_agree(self) -> Self:
        _refuse_twice("feature", tuple(f.name for f in self.features))
        for feature in self.features:
            if feature.of == "user" and self.users is None:
                raise ValueError(f"feature {feature.name} is of user, but the schema names no `users` file")
            if feature.of == "item" and self.items is None:
                raise ValueError(f"feature {feature.name} is of item, but the schema names no `items` file")
            if feature.of == "context" and feature.column in self.label_columns:
                raise ValueError(
                    f"feature {feature.name} reads label column {feature.column}: a label is never an input"
                )
        return self


def _refuse_twice(what: str, names: tuple[str, ...]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"{what} {name} stands twice; names must differ")
