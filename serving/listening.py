"""The sockets of our servers. It imports little, so that a port in use is told before anything heavy is loaded."""

from __future__ import annotations

import contextlib
import socket

from model.errors import Fault

BACKLOG = 2048


def bound(address: str, port: int) -> socket.socket:
    """A socket that holds the port and does not listen yet: whoever connects is refused, not kept waiting.

    port 0: any free one. Raises Fault where it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            both = address == "::" and socket.has_dualstack_ipv6()
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        taken.bind((address, port))
    except OSError as error:
        taken.close()
        raise refused(address, port, error) from None
    return taken


def listen(taken: socket.socket) -> None:
    """Raises Fault where another socket that was bound at the same time listens already."""
    try:
        taken.listen(BACKLOG)
    except OSError as error:
        address, port, *_ = taken.getsockname()
        raise refused(address, port, error) from None


def require_free(address: str, port: int) -> None:
    """Raises Fault where the port is in use, for servers that bind it themselves."""
    with contextlib.closing(bound(address, port)):
        pass


def refused(address: str, port: int, error: OSError) -> Fault:
    return Fault(f"cannot listen on {address} port {port}: {error.strerror or error}; choose another address or port")
