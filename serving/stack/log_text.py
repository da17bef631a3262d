"""The logs of a stack, as a person reads them: the last lines of each process, and what comes."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import typer

from model.errors import UserError
from serving.stack.folder import StackFolder

_LOOK_S = 0.3


def show_logs(folder: StackFolder, name: str | None, lines: int, *, follow: bool) -> None:
    """Raises UserError for a process that has no log here."""
    paths = sorted(folder.log("x").parent.glob("*.log"))
    if not paths:
        raise UserError(f"{folder.root} holds no logs: name the folder of `mgoe up` with --state")
    if name is not None:
        known = [path.stem for path in paths]
        paths = [path for path in paths if path.stem == name]
        if not paths:
            raise UserError(f"no process {name!r} has a log here; there are {', '.join(known)}")
    width = 0 if name is not None else max(len(path.stem) for path in paths)
    with contextlib.ExitStack() as stack:
        files = [(path, stack.enter_context(path.open(encoding="utf-8", errors="replace"))) for path in paths]
        for path, file in files:
            for line in deque(file, maxlen=lines):
                _show(path, line, width)
        with contextlib.suppress(KeyboardInterrupt):
            while follow:
                _show_new(files, width)
                time.sleep(_LOOK_S)


def _show_new(files: Sequence[tuple[Path, TextIO]], width: int) -> None:
    for path, file in files:
        for line in file:
            _show(path, line, width)


def _show(path: Path, line: str, width: int) -> None:
    typer.echo(f"{path.stem:<{width}}  {line}" if width else line, nl=not line.endswith("\n"))
