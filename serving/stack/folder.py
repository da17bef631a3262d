"""The one folder that a stack keeps everything in."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from model.errors import Fault

LOG_BYTES = 16 * 2**20
"""A log that is longer when its process starts is put aside as NAME.log.old."""


@dataclass(frozen=True)
class StackFolder:
    """root is absolute: processes carry it as their mark."""

    root: Path

    @classmethod
    def at(cls, place: Path) -> StackFolder:
        """The folder of that name, wherever it is called from."""
        return cls(place.absolute().resolve())

    @property
    def plan(self) -> Path:
        """What runs, on which ports (plan.StackPlan)."""
        return self.root / "stack.json"

    @property
    def records(self) -> Path:
        """Which processes run (records.Records); the supervisor writes it."""
        return self.root / "processes.json"

    @property
    def gateway(self) -> Path:
        return self.root / "gateway"

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts.db"

    @property
    def evidence(self) -> str:
        """Address of the evidence's database."""
        return f"sqlite:///{self.root / 'evidence.db'}"

    @property
    def cache(self) -> Path:
        """What rankers make of their bundles."""
        return self.root / "cache"

    @property
    def prometheus(self) -> Path:
        return self.root / "prometheus"

    def log(self, name: str) -> Path:
        return self.root / "logs" / f"{name}.log"

    def made(self) -> StackFolder:
        """Raises Fault where it cannot be."""
        try:
            for place in (self.root, self.log("").parent):
                place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Fault(
                f"state folder {self.root} cannot be written: {error.strerror}; name another with --state"
            ) from None
        return self

    def opened_log(self, name: str) -> BinaryIO:
        """The log of a process, to append to. Raises OSError."""
        path = self.log(name)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.rename(path.with_suffix(".log.old"))
        return path.open("ab")

    def write(self, path: Path, text: str) -> None:
        """Replaces a file at once. Raises Fault."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                Path(aside).chmod(0o644)
                Path(aside).rename(path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Fault(f"{path} cannot be written: {error.strerror}") from None

    @contextlib.contextmanager
    def locked(self, what: str) -> Iterator[bool]:
        """Holds a lock of that name for the body, or gives False where another process does."""
        try:
            file = (self.root / f".{what}.lock").open("w", encoding="utf-8")
        except OSError as error:
            raise Fault(
                f"state folder {self.root} cannot be written: {error.strerror}; name another with --state"
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
