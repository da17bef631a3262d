"""Who may do what: tokens by role, from a file or the environment, never from arguments."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from model.errors import UserError

Role = Literal["write", "read", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
SHORTEST = 16
"""Characters of a token."""


class Tokens:
    """Compares in constant time, and knows tokens by their digests alone."""

    everybody = False
    """Whether no token is asked for."""

    def __init__(self, digests: Mapping[bytes, frozenset[Role]]) -> None:
        self._digests = digests

    def roles(self, token: str) -> frozenset[Role]:
        """The roles of a token; none where it is unknown."""
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        found: frozenset[Role] = frozenset()
        for known, roles in self._digests.items():  # all of them, whether or not one has matched
            if hmac.compare_digest(known, digest):
                found = roles
        return found

    @staticmethod
    def load(file: Path | None, environment: Mapping[str, str]) -> Tokens:
        """From a file of lines `ROLE[,ROLE] TOKEN`, or from MGOE_EVIDENCE_{WRITE,READ,ADMIN}_TOKEN.

        Raises UserError, which never shows a token.
        """
        found: dict[bytes, frozenset[Role]] = {}
        for digest, roles in _environment(environment) if file is None else _file(file):
            found[digest] = found.get(digest, frozenset()) | roles
        if not found:
            source = f"{file} holds none" if file else "MGOE_EVIDENCE_{WRITE,READ,ADMIN}_TOKEN are not set"
            raise UserError(f"no token: {source}; give --tokens FILE with lines `ROLE TOKEN`, or --open on loopback")
        return Tokens(found)

    @staticmethod
    def open() -> Tokens:
        """Everybody may do everything: for one machine, on loopback."""
        return _Open({})


class _Open(Tokens):
    everybody = True

    def roles(self, token: str) -> frozenset[Role]:
        return frozenset(ROLES)


def _file(file: Path) -> Iterator[tuple[bytes, frozenset[Role]]]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"tokens {file}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        roles, _, token = line.strip().partition(" ")
        yield _entry(roles.split(","), token.strip(), f"{file}, line {number}")


def _environment(environment: Mapping[str, str]) -> Iterator[tuple[bytes, frozenset[Role]]]:
    for role in ROLES:
        name = f"MGOE_EVIDENCE_{role.upper()}_TOKEN"
        if token := environment.get(name):
            yield _entry([role], token.strip(), name)


def _entry(names: list[str], token: str, place: str) -> tuple[bytes, frozenset[Role]]:
    for name in names:
        if name not in ROLES:
            raise UserError(f"{place}: role {name!r} is none of {', '.join(ROLES)}; a line is `ROLE[,ROLE] TOKEN`")
    if len(token) < SHORTEST or any(character.isspace() for character in token):
        raise UserError(f"{place}: a token has at least {SHORTEST} characters and no spaces")
    return hashlib.sha256(token.encode()).digest(), frozenset(role for role in ROLES if role in names)
