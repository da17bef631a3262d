"""Whether anybody answers at the address of a Ray cluster; Ray itself warns for minutes before it gives up."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from model.errors import Fault, UserError

CLIENT, CLIENT_PORT = "ray://", 10001
"""Of Ray's client server, whose port may be left out."""
OF_THIS_MACHINE = ("auto", "local")
SECONDS = 5.0


def refuse_a_dead_address(address: str) -> None:
    """Raises UserError where `address` is neither host:port nor ray://host:port, Fault where nobody listens there."""
    if address in OF_THIS_MACHINE:
        return
    host, port = _place(address)
    try:
        socket.create_connection((host, port), SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise Fault(f"Ray at {address}: nobody answers ({error}); name the head of a running cluster") from None


def _place(address: str) -> tuple[str, int]:
    wrong = UserError(f"Ray at {address}: needs the form host:port or ray://host:port")
    try:
        parts = urlsplit("//" + address.removeprefix(CLIENT))
        host, port = parts.hostname, parts.port or (CLIENT_PORT if address.startswith(CLIENT) else None)
    except ValueError:
        raise wrong from None
    if not host or port is None or parts.path or parts.query or parts.fragment:
        raise wrong
    return host, port
