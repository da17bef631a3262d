"""A step of a run on this machine ends with the run: one that is killed leaves nobody behind who goes on working."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from model.errors import Fault

LOCK_VARIABLE = "MGOE_RUN_LOCK"
"""Environment variable that names the file which the run holds locked while it lives; without it nobody is watched."""


def end_with_the_run() -> None:
    """From now on, this process ends at once when the run does. What it has not finished is made aside, so none of it
    is taken for whole."""
    path = os.environ.get(LOCK_VARIABLE)
    if path is not None:
        threading.Thread(target=_wait, args=(Path(path),), name="run-end", daemon=True).start()


def _wait(lock: Path) -> None:
    try:
        with lock.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # given by the kernel as soon as the run no longer holds it
    except OSError:
        return  # a file system without locks: the step ends when its output finds no reader
    os._exit(Fault.exit_code)
