"""What is wrong with the rows of a log, seen in one streaming pass.

Of a log in order of time nothing is held but what each second and the last of them had; one in any order takes eight
bytes of memory a row, by which duplicates are found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from model.data.dataset import Int64
from model.data.finding import Finding, error, warning
from model.data.raw import RawLog
from model.data.schema import History, LogSchema, Task
from model.data.time_counts import TimeCounts

_EARLIEST, _LATEST = 631_152_000, 4_102_444_800
"""1990 and 2100: seconds outside are milliseconds, or no times."""


@dataclass
class LabelCount:
    """Of one task, over all rows."""

    null: int = 0
    wrong: int = 0
    example: object = None
    outside: int = 0
    positive: int = 0
    negative: int = 0


@dataclass
class RowsCheck:
    """Counts what is wrong, batch by batch; `findings` puts it in words."""

    schema: LogSchema
    rows: int = 0
    null_ids: dict[str, int] = field(default_factory=dict)
    null_times: int = 0
    backward: int = 0
    first_backward: int | None = None
    labels: dict[str, LabelCount] = field(default_factory=dict)
    times: TimeCounts = field(default_factory=TimeCounts)
    """Rows of every second, of those that have a time."""
    repeated: int = 0
    _prints: list[Int64] = field(default_factory=list)
    """Of the rows that a later one may still repeat."""
    _last: int | None = None

    def add(self, batch: pl.DataFrame, raw: RawLog) -> None:
        """The next rows of the labelled part."""
        log = self.schema.interactions
        for column in (log.user, log.item):
            self.null_ids[column] = self.null_ids.get(column, 0) + batch[column].null_count()
        timed = batch.filter(pl.col(log.time.column).is_not_null())
        if timed[log.time.column].dtype.is_float():
            timed = timed.filter(pl.col(log.time.column).is_finite())
        self.null_times += len(batch) - len(timed)
        self._add_order(timed[log.time.column].to_physical().to_numpy())
        self.times.add(raw.seconds(timed))
        for task in self.schema.tasks:
            self._add_labels(batch, task)
        self._add_prints(batch)
        self.rows += len(batch)

    def findings(self, where: str) -> list[Finding]:
        """Everything that the rows showed, in words."""
        if self.rows == 0:
            return [error(where, "has no rows")]
        found = [
            error(where, f"column {column} is null in {_share(count, self.rows)}; every impression has one")
            for column, count in self.null_ids.items()
            if count
        ]
        found += self._time_findings(where)
        for task in self.schema.tasks:
            found += label_findings(where, task, self.labels.get(task.name, LabelCount()), self.rows)
        return found + self._duplicates(where)

    def _add_order(self, time: Int64) -> None:
        if len(time) == 0:
            return
        before = np.concatenate([[time[0] if self._last is None else self._last], time[:-1]])
        back = np.flatnonzero(time < before)
        if len(back) and self.first_backward is None:
            self.first_backward = self.rows + int(back[0])
        self.backward += len(back)
        self._last = time[-1]

    def _add_prints(self, batch: pl.DataFrame) -> None:
        """Looks for repeated rows; once time has moved on, earlier ones cannot be repeated in a log in its order."""
        log = self.schema.interactions
        keys = batch.select(log.user, log.item, log.time.column)
        self._prints.append(keys.hash_rows(seed=0).reinterpret(signed=True).to_numpy())
        if log.order == "time" and len(batch) and keys[log.time.column][0] != keys[log.time.column][-1]:
            self._count_repeated()
            newest = keys.filter(pl.col(log.time.column) == keys[log.time.column][-1])
            self._prints = [newest.hash_rows(seed=0).reinterpret(signed=True).unique().to_numpy()]

    def _count_repeated(self) -> None:
        prints = np.sort(np.concatenate([np.zeros(0, np.int64), *self._prints]))
        self.repeated += int((prints[1:] == prints[:-1]).sum())
        self._prints = []

    def _add_labels(self, batch: pl.DataFrame, task: Task) -> None:
        given = next((t.label_column for t in self.schema.tasks if t.name == task.given), None)
        count = self.labels.setdefault(task.name, LabelCount())
        count_labels(count, batch[task.label_column], None if given is None else batch[given])

    def _time_findings(self, where: str) -> list[Finding]:
        log = self.schema.interactions
        column, found = log.time.column, []
        if self.null_times:
            found.append(error(where, f"time {column} is absent in {_share(self.null_times, self.rows)}"))
        if self.backward and log.order == "time":
            found.append(
                error(
                    where,
                    f"time {column} is not sorted: it goes back at {_share(self.backward, self.rows)}, first at row "
                    f"{self.first_backward:,}; sort the log oldest first, or set interactions.order: any",
                )
            )
        strange = len(self.times) - len(self.times.within(_EARLIEST, _LATEST))
        if strange:
            found.append(
                error(
                    where,
                    f"time {column} lies outside of 1990 to 2100 in {_share(strange, self.rows)}, read in unit "
                    f"{log.time.unit}; set interactions.time.unit to s, ms or us",
                )
            )
        return found

    def _duplicates(self, where: str) -> list[Finding]:
        self._count_repeated()
        if not self.repeated:
            return []
        log = self.schema.interactions
        says = (
            f"{_share(self.repeated, self.rows)} repeat {log.user}, {log.item} and {log.time.column} of an earlier row"
        )
        if log.duplicates == "keep":
            return [warning(where, f"duplicated impressions: {says}; each is kept, as the schema asks")]
        return [
            error(
                where,
                f"duplicated impressions: {says}; remove them (was a file appended twice?), "
                "or set interactions.duplicates: keep",
            )
        ]


def count_labels(count: LabelCount, label: pl.Series, given: pl.Series | None) -> None:
    """Adds the labels of one batch; given: labels of the task it is conditional on."""
    value = label.cast(pl.Float64, strict=False)
    inside = pl.repeat(True, len(label), eager=True) if given is None else (given.cast(pl.Float64, strict=False) == 1)
    inside = inside.fill_null(value=False)
    wrong = (~value.is_in([0.0, 1.0])).fill_null(value=False)
    count.null += int((value.is_null() & inside).sum())
    if wrong.any() and count.example is None:
        count.example = label.filter(wrong)[0]
    count.wrong += int(wrong.sum())
    positive = (value == 1).fill_null(value=False)
    count.outside += int((positive & ~inside).sum())
    count.positive += int((positive & inside).sum())
    count.negative += int(((value == 0).fill_null(value=False) & inside).sum())


def label_findings(where: str, task: Task, count: LabelCount, rows: int) -> list[Finding]:
    """What is wrong with the labels of `task`, in words."""
    column, found = task.label_column, []
    if count.null:
        found.append(error(where, f"label {column} is null in {_share(count.null, rows)}; write 0 or 1"))
    if count.wrong:
        found.append(
            error(where, f"label {column} is neither 0 nor 1 in {_share(count.wrong, rows)}, {count.example} for one")
        )
    if count.outside:
        found.append(
            error(
                where,
                f"task {task.name} is conditional on {task.given}, yet its label is 1 where {task.given} is not "
                f"in {_share(count.outside, rows)}; write 0, or make its space entire",
            )
        )
    if not count.positive:
        found.append(error(where, f"task {task.name} has no positive; drop the task or mend column {column}"))
    elif not count.negative:
        found.append(error(where, f"task {task.name} has no negative; drop the task or mend column {column}"))
    return found


@dataclass
class HistoryCheck:
    """Counts what is wrong with the history. first: unix seconds of the first labelled impression, if known."""

    schema: LogSchema
    history: History
    first: int | None
    rows: int = 0
    late: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    labels: dict[str, LabelCount] = field(default_factory=dict)

    def add(self, batch: pl.DataFrame, raw: RawLog) -> None:
        """The next rows of the history."""
        self.rows += len(batch)
        timed = None if self.history.time is None else self.history.time.column
        for column in filter(None, (self.history.user, self.history.item, self.history.order, timed)):
            self.nulls[column] = self.nulls.get(column, 0) + batch[column].null_count()
        columns = {task.name: task.label_column for task in self.schema.tasks}
        for task in self.schema.tasks:
            if task.name in self.history.tasks:
                given = None if task.given is None else batch[columns[task.given]]
                count_labels(self.labels.setdefault(task.name, LabelCount()), batch[task.label_column], given)
        if timed is not None and self.first is not None:
            seconds = raw.history_seconds(batch.filter(pl.col(timed).is_not_null()))
            self.late += 0 if seconds is None else int((seconds >= self.first).sum())

    def findings(self) -> list[Finding]:
        """Everything that the rows showed, in words."""
        where = self.history.path
        if self.rows == 0:
            return [warning(where, "has no rows")]
        nulls = {column: count for column, count in self.nulls.items() if count}
        found = [error(where, f"column {name} is null in {_share(count, self.rows)}") for name, count in nulls.items()]
        for task in self.schema.tasks:
            if task.name in self.labels:
                found += label_findings(where, task, self.labels[task.name], self.rows)
        if self.late:
            late = _share(self.late, self.rows)
            found.append(error(where, f"{late} are not before the labelled part begins; history must precede it"))
        return found


def _share(count: int, rows: int) -> str:
    return f"{count:,} of {rows:,} rows ({count / rows:.2%})" if count < rows else f"all {rows:,} rows"
