"""The error hierarchy: every error that a person can mend is one line and an exit code, never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class MgoeError(Exception):
    """Base of all errors that mgoe raises on purpose. The message is one line: thing, value, what would be right."""

    exit_code = 1


class UserError(MgoeError):
    """The input is wrong: a file, a field, a flag. Mending it is up to the caller. Exit code 2."""

    exit_code = 2


class Fault(MgoeError):  # noqa: N818  # a fault of the world, as against an error of the user
    """The input is right but the world is not: a full disk, a server that is down, a killed worker. Exit code 1."""

    exit_code = 1


def first_mistake(error: ValidationError, whole: str = "the file") -> str:
    """What is wrong first, for a sentence: "FIELD is wrong: WHY". whole: what a mistake in no one field is in."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    return f"{where} is wrong: {first['msg']}"
