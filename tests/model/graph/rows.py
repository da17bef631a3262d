"""A log of dense ids as plain arrays: an event source that can be cut in two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from model.graph.events import Catalogue, Events, Piece, Span
from tests.model.graph.logs import DAY, START

TASKS, LEVELS = ("click", "cart", "buy"), (1, 2, 3)


@dataclass(frozen=True)
class Rows:
    """An event source. validate_from: the last moment of a graph of it that has a single one."""

    events: Events
    validate_from: int
    tasks: tuple[str, ...] = TASKS
    levels: tuple[int, ...] = LEVELS
    timezone: str = "Asia/Shanghai"

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self.tasks, self.levels, int(self.events.user.max()) + 1, int(self.events.item.max()) + 1)

    @property
    def span(self) -> Span:
        time = self.events.time
        return Span(False, int(time.min()), self.validate_from, int(time.max()) + 1, self.timezone)

    @property
    def rows(self) -> int:
        return len(self.events)

    def pieces(self) -> list[Piece]:
        return [replace(self, events=taken(self.events, slice(n, n + 400))) for n in range(0, self.rows, 400)]

    def chunks(self, *, labels: bool = True) -> Iterator[Events]:
        for start in range(0, self.rows, 97):
            part = taken(self.events, slice(start, start + 97))
            nothing = np.zeros(len(part), np.uint32)
            yield part if labels else replace(part, mask=nothing, known=nothing)

    def within(self, first: int, end: int) -> Rows:
        """The rows of these seconds."""
        time = self.events.time
        return replace(self, events=taken(self.events, np.flatnonzero((time >= first) & (time < end))))


def taken(events: Events, rows: slice | np.ndarray) -> Events:
    return Events(events.user[rows], events.item[rows], events.mask[rows], events.time[rows], events.known[rows])


def random_rows(seed: int, *, rows: int = 900, users: int = 60, items: int = 30, days: int = 4) -> Rows:
    """Repeated pairs, equal times, tasks that are not always known, nodes that come late and some that are heavy."""
    rng = np.random.default_rng(seed)
    time = np.sort(START + rng.integers(0, days * DAY, rows))
    arrived = 0.5 + 0.5 * (time - START) / (days * DAY)
    user = 1 + (rng.random(rows) * arrived * users).astype(np.int32)
    item = 1 + (rng.random(rows) ** 2 * arrived * items).astype(np.int32)
    known = rng.integers(0, 8, rows).astype(np.uint32) | np.uint32(1)
    mask = rng.integers(0, 8, rows).astype(np.uint32) & known
    return Rows(Events(user, item, mask, time, known), START + days * DAY)
