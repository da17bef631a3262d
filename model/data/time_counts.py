"""How many rows every second of a log has: all that splits and quantiles need of its times."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
_WAITING = 1 << 19
"""Distinct seconds that wait to be added up, at least; half of those known where that is more: merging them seldom
keeps the cost of a row constant."""


@dataclass
class TimeCounts:
    """Rows per distinct second, added up batch by batch."""

    _second: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _count: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _waiting: list[tuple[Int64, Int64]] = field(default_factory=list)
    _held: int = 0

    @classmethod
    def of(cls, time_N: Int64) -> TimeCounts:
        counts = cls()
        counts.add(time_N)
        return counts

    def add(self, time_N: Int64) -> None:
        """The next rows, unix seconds."""
        self._wait(*np.unique(time_N, return_counts=True))

    def merge(self, other: TimeCounts) -> None:
        """The rows that another one counted."""
        self._wait(other.seconds, other.counts)

    def _wait(self, second: Int64, count: Int64) -> None:
        self._waiting.append((second, count))
        self._held += len(second)
        if self._held > max(_WAITING, len(self._second) // 2):
            self._merge()

    @property
    def seconds(self) -> Int64:
        """Distinct seconds [D], ascending."""
        self._merge()
        return self._second

    @property
    def counts(self) -> Int64:
        """Rows of each, [D]."""
        self._merge()
        return self._count

    def __len__(self) -> int:
        """Rows."""
        return int(self.counts.sum())

    def within(self, start: int, stop: int) -> TimeCounts:
        """Of the rows with start <= time < stop."""
        inside = slice(*np.searchsorted(self.seconds, (start, stop)))
        return TimeCounts(self._second[inside], self._count[inside])

    def nth(self, place: int) -> int:
        """The second of the row at `place` (from 0) in order of time."""
        return int(self.seconds[np.searchsorted(np.cumsum(self._count), place, side="right")])

    def _merge(self) -> None:
        if not self._waiting:
            return
        seconds = np.concatenate([self._second, *(second for second, _ in self._waiting)])
        counts = np.concatenate([self._count, *(count for _, count in self._waiting)])
        self._waiting, self._held = [], 0
        order = np.argsort(seconds, kind="stable")  # of ascending runs: it merges them
        seconds, counts = seconds[order], counts[order]
        first = np.flatnonzero(np.append(True, seconds[1:] != seconds[:-1])) if len(seconds) else order
        self._second, self._count = seconds[first], np.add.reduceat(counts, first) if len(first) else counts
