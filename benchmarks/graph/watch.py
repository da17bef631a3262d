"""Runs a command and watches it: peak of its private memory, of its resident memory, and of the disk that it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERY = 0.2


@dataclass(frozen=True)
class Watched:
    """facts: the command's last line, JSON. private, resident: bytes. scratch: bytes of its working files.

    resident counts pages of mapped files too, which the system takes back when it needs them; private does not.
    """

    facts: dict[str, Any]
    private: int
    resident: int
    scratch: int


def watch(arguments: list[str], scratch: Path) -> Watched:
    """Runs `python -m` with the arguments; its working files go below `scratch`. Raises CalledProcessError."""
    environment = os.environ | {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *arguments]
    private = held = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None:
            private = max(private, _private(process.pid))
            held = max(held, size_of(scratch) + _unnamed(process.pid, scratch))
            time.sleep(EVERY)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    facts = json.loads(said.strip().splitlines()[-1])
    return Watched(facts, private, int(facts["peak"]), held)


def size_of(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk."""
    total = 0
    for place, _, names in os.walk(folder):  # leaves out folders that go meanwhile
        for name in names:
            try:
                total += (Path(place) / name).stat().st_blocks * 512
            except FileNotFoundError:
                continue  # gone meanwhile
    return total


def _private(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has just ended
    return 0


def _unnamed(pid: int, scratch: Path) -> int:
    """Bytes on disk of files that are open or mapped though their names are gone; of sparse ones what is written."""
    held: dict[int, int] = {}
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if str(link.readlink()).startswith(str(scratch)):
                facts = link.stat()
                held[facts.st_ino] = facts.st_blocks * 512 if facts.st_nlink == 0 else 0
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass  # it has just ended
    return sum(held.values())
