"""The token file: lines `ROLE TOKEN`, or `ROLE TOKEN NAME`. Tokens are known by their digests alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model.errors import UserError
from serving.console.person import ROLES, Person

SHORTEST = 16
"""Characters of a token."""
LONGEST_NAME = 64


@dataclass(frozen=True)
class Entry:
    """One line of the file."""

    digest: bytes
    person: Person


class Tokens:
    """Compares in constant time: every entry is looked at, whether or not one has matched."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._entries = entries

    def owner(self, token: str) -> Entry | None:
        """Whose token it is."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        found: Entry | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return found

    def by_mark(self, mark: str, mark_of: Callable[[bytes], str]) -> Person | None:
        """Whose token has this mark (Session.mark)."""
        found: Person | None = None
        for entry in self._entries:
            if hmac.compare_digest(mark_of(entry.digest).encode(), mark.encode(errors="replace")):
                found = entry.person
        return found


def read_tokens(file: Path) -> Tokens:
    """Raises UserError, which never shows a token."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"tokens {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"tokens {file}: no UTF-8 at byte {error.start}") from error
    entries = tuple(_entries(lines, file))
    if not entries:
        raise UserError(f"tokens {file}: it holds none; write lines `ROLE TOKEN`, roles {' and '.join(ROLES)}")
    return Tokens(entries)


def _entries(lines: list[str], file: Path) -> Iterator[Entry]:
    known: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"tokens {file}, line {number}"
        role = next((each for each in ROLES if each == words[0]), None)
        if role is None:
            raise UserError(f"{place}: role {words[0][:20]!r} is none of {', '.join(ROLES)}; a line is `ROLE TOKEN`")
        if len(words) < 2 or len(words[1]) < SHORTEST:
            raise UserError(f"{place}: a token has at least {SHORTEST} characters and no spaces")
        digest = hashlib.sha256(words[1].encode()).digest()
        if digest in known:
            raise UserError(f"{place}: the token of line {known[digest]} again; give each person their own")
        known[digest] = number
        name = " ".join(words[2:])[:LONGEST_NAME] or f"{role} token {digest.hex()[:8]}"
        yield Entry(digest, Person(name, role))
