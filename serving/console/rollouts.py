"""The rollouts as all pages see them: read once a second, however many pages are open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from serving.console.wish import Sight
from serving.rollout.desk import Desk
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.sqlite_store import checked
from serving.rollout.status_text import status_of
from serving.rollout.store import Stored

FRESH_S = 1.0


class Rollouts:
    """A desk with a short memory for reading. Wishes go past it, to the desk."""

    def __init__(self, desk: Desk, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.desk = desk
        self.fresh_s = FRESH_S
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read: tuple[float, tuple[Stored, ...]] | None = None

    def all(self) -> tuple[Stored, ...]:
        """Every rollout, at most a second old. Raises Fault or UserError where the desk does."""
        with self._lock:
            now = self._monotonic()
            if self._read is None or now - self._read[0] > self.fresh_s:
                self._read = (now, self.desk.all())
            return self._read[1]

    def forget(self) -> None:
        """After a write: the next page shows it."""
        with self._lock:
            self._read = None

    def one(self, name: str) -> Stored:
        """The rollout of that name, at most a second old. Raises UserError where there is none."""
        for read in self.all():
            if read.key.name == name:
                return read
        return self.desk.read(name)


def sight_of(read: Stored) -> Sight:
    """Spec and status as the pages need them. Raises UserError for a spec that this version cannot read."""
    spec: ModelRolloutSpec = checked(read.spec)
    return Sight(read.key.name, read.generation, spec, status_of(read), read.deleted_at is not None)
