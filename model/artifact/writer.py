"""Artifacts appear whole or not at all: they are written aside, digested, flushed to the disk and renamed into place."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from model.artifact.manifest import (
    MANIFEST_NAME,
    Kind,
    Manifest,
    Source,
    digest_of_file,
    digest_of_files,
    list_files,
    read_manifest,
)
from model.errors import Fault, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        self._clean_leftovers()
        self.path, self._lock = self._locked_folder(self._prefix)

    def commit(self) -> None:
        """Flushes everything to the disk and renames the folder onto `out`."""
        for path in sorted(self.path.rglob("*")):
            _flush(path)
        _flush(self.path)
        replaced = None
        if self.out.is_dir() and any(self.out.iterdir()):
            replaced = Path(tempfile.mkdtemp(prefix=self._replaced_prefix, dir=self.out.parent))
            self.out.rename(replaced)
        self.path.rename(self.out)
        _flush(self.out.parent)
        os.close(self._lock)
        if replaced is not None:
            shutil.rmtree(replaced)

    def discard(self) -> None:
        """Removes the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _locked_folder(self, prefix: str) -> tuple[Path, int]:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.out.parent))
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _take(lock) and folder.exists():
                folder.chmod(0o755)  # mkdtemp's 0700 would keep other users (a server's, say) out of the artifact
                return folder, lock
            os.close(lock)  # another writer's cleaning was faster than our lock

    def _clean_leftovers(self) -> None:
        for replaced in sorted(self.out.parent.glob(f"{self._replaced_prefix}*")):
            # Killed between the two renames of commit(): the old artifact is the only whole one, so it goes back.
            if not self.out.exists() and any(replaced.iterdir()):
                replaced.rename(self.out)
        for leftover in sorted(self.out.parent.glob(f"{self._prefix}*")):
            try:
                lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # its writer has just finished
            try:
                if _take(lock):
                    shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)


class ArtifactWriter:
    """Context manager: fill `path`, set `facts`; on a clean exit the artifact stands at `out`, whole.

    On an error nothing is left behind. An empty folder, or an artifact of the same kind, at `out` is replaced.
    Raises UserError when `out` holds something else, Fault when the disk is full.
    """

    def __init__(self, out: Path, kind: Kind, made_by: str, made_from: Sequence[Source] = ()) -> None:
        self.out = out
        self.kind: Kind = kind
        self.made_by = made_by
        self.made_from = tuple(made_from)
        self.facts: dict[str, str | int | float | bool | list[str] | dict[str, float]] = {}
        self._staging: Staging | None = None
        self._manifest: Manifest | None = None

    @property
    def path(self) -> Path:
        """The temporary folder to fill."""
        if self._staging is None:
            raise RuntimeError("ArtifactWriter.path is there only inside the with block")
        return self._staging.path

    @property
    def manifest(self) -> Manifest:
        """What was written; there after a clean exit."""
        if self._manifest is None:
            raise RuntimeError("ArtifactWriter.manifest is there only after a clean exit of the with block")
        return self._manifest

    def __enter__(self) -> ArtifactWriter:
        refuse_to_overwrite(self.out, self.kind)
        try:
            self._staging = Staging(self.out)
        except OSError as error:
            raise _fault(self.out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        staging, self._staging = self._staging, None
        if staging is None:
            raise RuntimeError("ArtifactWriter left without being entered")
        if error is not None:
            staging.discard()
            if is_disk_full(error):
                raise _fault(self.out, error) from error
            return
        try:
            manifest = self._finish(staging)
        except BaseException as failure:
            staging.discard()
            if isinstance(failure, OSError):
                raise _fault(self.out, failure) from failure
            raise
        self._manifest = manifest

    def _finish(self, staging: Staging) -> Manifest:
        files = {name: digest_of_file(staging.path / name) for name in list_files(staging.path)}
        manifest = Manifest(
            kind=self.kind,
            made_by=self.made_by,
            made_from=self.made_from,
            files=files,
            facts=self.facts,
            digest=digest_of_files(files),
        )
        (staging.path / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
        staging.commit()
        return manifest


def refuse_to_overwrite(out: Path, kind: Kind) -> None:
    """Raises UserError when writing an artifact of `kind` at `out` would destroy something that is not its forerunner."""
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
    """Whether the disk was full. Native writers (Parquet, safetensors) tell it in words only."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return "No space left on device" in str(error)


def _fault(out: Path, error: BaseException) -> Fault:
    if is_disk_full(error):
        return Fault(f"no space left on the disk while writing {out}: nothing was kept; free some and run again")
    return Fault(f"cannot write {out}: {error}")


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
