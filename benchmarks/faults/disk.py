"""A small real disk, which can be filled and freed."""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model.errors import UserError

_BLOCK = bytes(4096)
FILLER = "filler"


@dataclass(frozen=True)
class SmallDisk:
    """root: where it is mounted."""

    root: Path

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Not one more block fits meanwhile."""
        filler = self.root / FILLER
        try:
            with filler.open("ab", buffering=0) as file:
                try:
                    while True:
                        file.write(_BLOCK)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
            yield
        finally:
            filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int = 128) -> Iterator[SmallDisk]:
    """A tmpfs of that size. Raises UserError where it cannot be mounted (it needs root)."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        raise UserError(f"no small disk can be mounted on {folder}: it needs root")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607
