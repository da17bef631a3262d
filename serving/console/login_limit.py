"""How often a token may be tried: failures by address, and of all addresses together."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_S = 300.0
OF_ONE = 10
"""Failures of one address in a window."""
OF_ALL = 200
"""Failures of all addresses in a window: who has many addresses is held up too."""
ADDRESSES = 10_000
"""Remembered; the oldest are forgotten first."""


class LoginLimit:
    """Counts failures; a login that succeeds is never counted."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._of: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque()

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0: now."""
        with self._lock:
            now = self._monotonic()
            return max(
                _wait(self._of.get(address, deque()), OF_ONE, now),
                _wait(self._all, OF_ALL, now),
            )

    def failed(self, address: str) -> None:
        """A wrong token from this address."""
        with self._lock:
            now = self._monotonic()
            mine = self._of.setdefault(address, deque(maxlen=OF_ONE))
            mine.append(now)
            self._of.move_to_end(address)
            if len(self._of) > ADDRESSES:
                self._of.popitem(last=False)
            self._all.append(now)
            if len(self._all) > OF_ALL:
                self._all.popleft()


def _wait(failures: deque[float], most: int, now: float) -> float:
    return max(0.0, failures[0] + WINDOW_S - now) if len(failures) >= most else 0.0
