"""One thing that is wrong with a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """severity: an error keeps the log from being ingested. where: the file. says: what is wrong, and what is right."""

    severity: Severity
    where: str
    says: str

    def __str__(self) -> str:
        return f"{self.where}: {self.says}"


def error(where: str, says: str) -> Finding:
    """A finding that keeps the log from being ingested."""
    return Finding("error", where, says)


def warning(where: str, says: str) -> Finding:
    """A finding that is worth a look."""
    return Finding("warning", where, says)
