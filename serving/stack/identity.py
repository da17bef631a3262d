"""Which process is meant: its number and the moment it began, so that a number given anew is another one (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from model.errors import Fault

PROC = Path("/proc")
STACK_VARIABLE = "MGOE_STACK"
"""In the environment of every process of a stack: its folder."""
NAME_VARIABLE = "MGOE_STACK_PROCESS"
"""And which of its processes it is."""


@dataclass(frozen=True)
class Identity:
    """start: clock ticks between the machine's start and the process' own."""

    pid: int
    start: int


def boot() -> str:
    """A name of this run of the machine: after a restart no earlier identity holds."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identity_of(pid: int) -> Identity | None:
    """None: there is no such process, or it has ended and only its parent has not asked for it."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else Identity(pid, int(fields[19]))


def memory_mb(pid: int) -> float | None:
    """MiB that a process has in memory, what it shares with others divided by their number; None: it cannot be read."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), None)


def is_alive(identity: Identity) -> bool:
    """Whether that very process runs."""
    return identity_of(identity.pid) == identity


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signals that very process; False: it has ended. Raises Fault where it is another user's."""
    with _opened(identity) as handle:
        if handle is None:
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            raise Fault(f"process {identity.pid} cannot be ended: it belongs to another user") from None
        return True


async def ended(identity: Identity) -> None:
    """Until that process has ended, be it a child of this one or not."""
    with _opened(identity) as handle:
        if handle is None:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(handle, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(handle)


def wait_ended(identity: Identity, timeout_s: float) -> bool:
    """The same for who has no loop; False: it runs still."""
    with _opened(identity) as handle:
        return handle is None or bool(select.select([handle], [], [], timeout_s)[0])


def marked(folder: Path) -> Mapping[str, Identity]:
    """Processes of the stack in `folder` by their names, whatever else is known of them.

    A process' own children carry the mark too; only leaders of a session are processes of the stack.
    """
    found: dict[str, Identity] = {}
    for place in PROC.iterdir():
        if not place.name.isdigit():
            continue
        # A process may end, or be another user's, while it is looked at.
        with contextlib.suppress(OSError):
            variables = _environment(place)
            if variables.get(STACK_VARIABLE) == str(folder) and os.getsid(int(place.name)) == int(place.name):
                identity = identity_of(int(place.name))
                if identity is not None:
                    found[variables.get(NAME_VARIABLE, place.name)] = identity
    return found


def _environment(place: Path) -> Mapping[str, str]:
    words = (place / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
    return dict(word.partition("=")[::2] for word in words if "=" in word)


@contextlib.contextmanager
def _opened(identity: Identity) -> Iterator[int | None]:
    """A handle that stands for this process even when its number is given anew."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if is_alive(identity) else None
    finally:
        os.close(handle)
