"""Ports of this machine for a stack: kept from start to start, chosen where none is asked for."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping

from model.errors import Fault, UserError

HOST = "127.0.0.1"
RANGE = range(18_000, 30_000)
"""Below the range that Linux takes ports of outgoing connections from (32768 up): nobody else is given a port of ours
while its process is started again."""
_TRIES = 1000


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not hold it
        try:
            sock.bind((HOST, port))
            sock.listen(1)
        except OSError:
            return False
    return True


def chosen(
    names: Iterable[str], asked: Mapping[str, int], before: Mapping[str, int], rng: random.Random | None = None
) -> dict[str, int]:
    """A free port for each name: the asked one, else the one it had before, else another.

    Raises UserError for an asked port that is taken, or that two names ask for; Fault where no port is free.
    """
    rng = rng or random.Random()
    ports: dict[str, int] = {}
    for name, port in asked.items():
        twice = next((other for other, taken in ports.items() if taken == port), None)
        if twice is not None:
            raise UserError(f"port {port} is asked for {twice} and for {name}: give each its own")
        if not is_free(port):
            raise UserError(f"port {port} for {name} is taken: end what listens there, or name another with --port")
        ports[name] = port
    for name in names:
        if name not in ports:
            had = before.get(name)
            ports[name] = had if had is not None and had not in ports.values() and is_free(had) else _other(ports, rng)
    return ports


def _other(ports: Mapping[str, int], rng: random.Random) -> int:
    for _ in range(_TRIES):
        port = rng.choice(RANGE)
        if port not in ports.values() and is_free(port):
            return port
    raise Fault(f"none of {_TRIES} ports of {HOST} between {RANGE.start} and {RANGE.stop} is free")
