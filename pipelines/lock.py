"""One run at a time in a run folder: an advisory lock that the kernel lets go of when its process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from model.errors import Fault, UserError

LOCK_NAME = "run.lock"
"""Stays in the folder with the last holder's number: whoever removes a lock file removes it for others, too."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Hold `folder`, made where it is absent, for the body, which is given the file that is locked.

    Raises UserError where another process holds it; Fault where it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_NAME).open("a+", encoding="utf-8")
    except OSError as error:
        raise Fault(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()  # empty in the instant between taking the lock and signing it
            process = f"process {holder}" if holder else "another process"
            raise UserError(f"out folder {folder} is in use by {process}; name another with --out") from None
        except OSError as error:
            raise Fault(f"cannot lock {folder}: {error.strerror}; name another folder with --out") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield folder / LOCK_NAME
