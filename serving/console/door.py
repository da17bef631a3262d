"""Who may come in: everybody on loopback, whoever has shown a token, or whom a trusted proxy names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

from model.errors import UserError
from serving.console.person import Person
from serving.console.session import Session, Sessions
from serving.console.tokens import Entry, Tokens

EVERYBODY = "*"


class Door(Protocol):
    """Says who is before the page."""

    @property
    def asks_for_token(self) -> bool:
        """Whether there is a page to log in."""

    def person(self, session: Session | None, headers: Mapping[str, str], client: str) -> Person | None:
        """client: the peer's address. None: a stranger."""


@dataclass(frozen=True)
class OpenDoor:
    """For one machine, on loopback."""

    asks_for_token = False

    def person(self, session: Session | None, headers: Mapping[str, str], client: str) -> Person | None:
        """Whoever can reach the port of this machine."""
        return Person("this machine", "steer")


class TokenDoor:
    """Tokens of a file; the session carries the mark of the one that was shown."""

    asks_for_token = True

    def __init__(self, tokens: Tokens, sessions: Sessions) -> None:
        self._tokens = tokens
        self._sessions = sessions

    def owner(self, token: str) -> Entry | None:
        """Whose token it is."""
        return self._tokens.owner(token)

    def person(self, session: Session | None, headers: Mapping[str, str], client: str) -> Person | None:
        """Whose token the session has shown, if the file still has it."""
        if session is None or not session.mark:
            return None
        return self._tokens.by_mark(session.mark, self._sessions.mark)


class ProxyDoor:
    """A header that a proxy in front sets after it has asked who it is. From anybody else it counts for nothing."""

    asks_for_token = False

    def __init__(self, header: str, proxies: tuple[str, ...], steerers: tuple[str, ...]) -> None:
        """proxies: CIDRs. steerers: names that may steer; `*`: all. Raises UserError."""
        if not proxies:
            raise UserError("--trusted-header: name the proxies that may set it with --trusted-proxy CIDR")
        self._header = header.lower()
        self._networks = tuple(_network(each) for each in proxies)
        self._steerers = frozenset(steerers)

    def person(self, session: Session | None, headers: Mapping[str, str], client: str) -> Person | None:
        """Whom the proxy names."""
        name = headers.get(self._header, "").strip()[:256]
        if not name or not self._trusted(client):
            return None
        steers = EVERYBODY in self._steerers or name in self._steerers
        return Person(name, "steer" if steers else "view")

    def _trusted(self, client: str) -> bool:
        try:
            address = ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _network(cidr: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(cidr)
    except ValueError as error:
        raise UserError(f"--trusted-proxy {cidr}: {error}; write 10.0.0.0/8 or the proxy's own address") from None
