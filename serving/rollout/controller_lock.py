"""One controller a local store: the lock that it holds, and whether anybody holds it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import UserError

_TRIES = 10
_AGAIN_S = 0.05
"""Whoever asks whether a controller runs holds the lock for a moment."""


@contextmanager
def only_one(store: Path) -> Iterator[None]:
    """Two controllers of one store would fight. Raises UserError where one runs already."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with _file(store).open("w", encoding="utf-8") as file:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if left == 0:
                    raise UserError(f"a controller already runs for {store}; give another --store") from None
                time.sleep(_AGAIN_S)
        yield


def controller_runs(store: Path) -> bool:
    """Whether a controller has the store now. One that may not be asked about is taken to run."""
    try:
        with _file(store).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # locked, or another user's
        return True
    return False


def _file(store: Path) -> Path:
    return Path(f"{store}.controller")
