"""The right to write. An operator without it writes nothing more, whatever it has already decided."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from model.errors import Fault


class LostLeadershipError(Fault):
    """Another operator leads, or this one could not renew its lease in time."""


class Fence(Protocol):
    """Asked before every single write."""

    def check(self) -> None:
        """Raises LostLeadershipError."""


class Alone:
    """The fence of a controller that cannot have a rival: its store is locked to one process."""

    def check(self) -> None:
        """Always passes."""


class Held:
    """A lease that counts from before its last renewal was sent, so that it ends here before it ends for others.

    Source: client-go's leader election, whose renewDeadline is shorter than leaseDuration for the same reason.
    """

    def __init__(self, duration_s: float, margin_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._duration_s = duration_s
        self._margin_s = margin_s
        self._monotonic = monotonic
        self._until: float | None = None

    def asked(self) -> float:
        """The moment to hand to `renewed`: taken before the renewal is sent."""
        return self._monotonic()

    def renewed(self, asked: float) -> None:
        """The renewal that was sent at `asked` was granted."""
        self._until = asked + self._duration_s - self._margin_s

    def lost(self) -> None:
        """Another operator has the lease."""
        self._until = None

    @property
    def holds(self) -> bool:
        """Whether the lease is ours at this moment."""
        return self._until is not None and self._monotonic() < self._until

    def check(self) -> None:
        """Raises LostLeadershipError."""
        if not self.holds:
            raise LostLeadershipError("this operator does not hold the lease; nothing more is written")
