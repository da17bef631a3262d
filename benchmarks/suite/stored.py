"""Results as files: those of a folder, and those of a commit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmarks.results import Facts, Row
from model.errors import UserError, first_mistake


@dataclass(frozen=True)
class Results:
    """What `write_results` wrote."""

    command: str
    machine: Facts
    tables: dict[str, list[Row]]


_RESULTS: TypeAdapter[Results] = TypeAdapter(Results)
Source = Callable[[str], Results | None]
"""Results by name; None: there are none. Raises UserError."""


def in_folder(folder: Path) -> Source:
    """The results of a folder."""

    def read(name: str) -> Results | None:
        path = folder / f"{name}.json"
        return _parsed(path.read_text(), str(path)) if path.exists() else None

    return read


def in_commit(commit: str, folder: Path) -> Source:
    """The results of a folder as they are in a commit. Raises UserError where there is no such commit."""
    found = _git(folder, "rev-parse", "--quiet", "--verify", f"{commit}^{{commit}}")
    if found.returncode != 0:
        raise UserError(f"--against {commit}: write a folder of results, or a commit of this repository")

    def read(name: str) -> Results | None:
        shown = _git(folder, "show", f"{commit}:./{name}.json")
        return _parsed(shown.stdout, f"{name}.json of {commit}") if shown.returncode == 0 else None

    return read


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607


def _parsed(text: str, place: str) -> Results:
    try:
        return _RESULTS.validate_json(text)
    except ValidationError as error:
        raise UserError(f"{place}: not the results of a benchmark: {first_mistake(error)}; make them again") from error
