"""URLs of servers: whether one can be connected to, and whether anybody listens there."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from model.errors import Fault, UserError

CONNECT_SECONDS = 5.0


def host_and_port(url: str, what: str = "endpoint") -> tuple[str, int]:
    """Where to connect to. what: names the URL in the UserError that is raised where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port out of range, brackets that don't close
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UserError(f"{what} {url!r} is wrong: use http://host:port or https://host")
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def knock(url: str, what: str) -> None:
    """Connects once and sends nothing. what: the server, as the Fault that is raised where nobody listens names it."""
    try:
        socket.create_connection(host_and_port(url), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise Fault(
            f"{what} at {url} does not answer ({reason}); is the endpoint right and its port forwarded?"
        ) from None
