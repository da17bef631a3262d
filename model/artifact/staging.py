"""Folders that appear whole or not at all: filled aside, flushed to the disk and renamed into place."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.artifact.manifest import MANIFEST_NAME, Kind, read_manifest, verify
from model.errors import Fault, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_IN_WORDS = re.compile(r"No space left on device|\d+ requested and \d+ written")
"""Parquet's and safetensors' writers; numpy.save's."""


class Staging:
    """A temporary folder beside `out` that becomes `out` in one rename.

    It is held by a lock that dies with its process, so whatever a killed process left behind can be told from what a
    living one is writing, and the next writer of the same `out` removes it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.absolute()
        self._prefix = f".{self.out.name}.writing-"
        self._replaced_prefix = f".{self.out.name}.replaced-"
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.out.parent):
            self._clean_leftovers()
        self._lock: int | None
        self.path, self._lock = self._locked_folder(self._prefix)

    def commit(self) -> None:
        """Flushes everything to the disk and renames the folder onto `out`."""
        for path in sorted(self.path.rglob("*")):
            flush(path)
        flush(self.path)
        with _alone_in(self.out.parent):
            replaced = None
            if self.out.is_dir() and any(self.out.iterdir()):
                replaced = Path(tempfile.mkdtemp(prefix=self._replaced_prefix, dir=self.out.parent))
                self.out.rename(replaced)
            self.path.rename(self.out)
            flush(self.out.parent)
            if replaced is not None:
                shutil.rmtree(replaced)

    def discard(self) -> None:
        """Removes the folder if commit() has not renamed it, and lets the lock go."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def _locked_folder(self, prefix: str) -> tuple[Path, int]:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.out.parent))
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _take(lock) and folder.exists():
                folder.chmod(0o755)  # mkdtemp's 0700 would keep other users (a server's, say) out of the artifact
                return folder, lock
            os.close(lock)  # another writer's cleaning was faster than our lock

    def _clean_leftovers(self) -> None:
        beside = sorted(self.out.parent.iterdir())
        for replaced in (path for path in beside if path.name.startswith(self._replaced_prefix)):
            # Killed between the two renames of commit(): the old artifact is the only whole one, so it goes back.
            if not self.out.exists() and any(replaced.iterdir()):
                replaced.rename(self.out)
            else:
                shutil.rmtree(replaced)
        for leftover in (path for path in beside if path.name.startswith(self._prefix)):
            try:
                lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # its writer has just finished
            try:
                if _take(lock):
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to bring a whole artifact into, manifest included; on a clean exit it is verified and becomes `out`.

    Raises UserError where the artifact is broken, Fault when the disk is full; then `out` is as it was.
    """
    try:
        staging = Staging(out)
        try:
            yield staging.path
            verify(staging.path)
            staging.commit()
        finally:
            staging.discard()
    except OSError as error:
        raise as_fault(out, error) from error


def refuse_to_overwrite(out: Path, kind: Kind) -> None:
    """Raises UserError when writing an artifact of `kind` at `out` would destroy anything but its forerunner."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"output {out} is a file; name a folder")
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST_NAME).is_file():
        raise UserError(f"output {out} holds files that are not an artifact; name a new or an empty folder")
    try:
        there = read_manifest(out).kind
    except UserError:
        return  # a broken artifact, or one of another version: replaced
    if there != kind:
        raise UserError(
            f"output {out} holds a {there} artifact, and a {kind} one would replace it; name another folder"
        )


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk was full. Native writers tell it in words only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return _FULL_IN_WORDS.search(str(error)) is not None


def as_fault(out: Path, error: BaseException) -> Fault:
    """The line to show for what kept `out` from being written."""
    if is_disk_full(error):
        return Fault(f"no space left on the disk while writing {out}: nothing was kept; free some and run again")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Fault(f"cannot write {out}: {reason}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other writer is renaming or cleaning in `folder`, and keeps others out meanwhile."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def flush(path: Path) -> None:
    """Returns once the file, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
