"""Where servers and the client run: servers on the machine's first cores, the client on those that they leave.

On a machine of two cores, servers on both of them share these with the client; tables of two cores say so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

Found = TypeVar("Found")


def server_cores(count: int) -> list[int]:
    """The machine's first cores."""
    return sorted(os.sched_getaffinity(0))[:count]


def run_client(load: Callable[[], Coroutine[Any, Any, Found]], cores: int) -> Found:
    """Runs a load on the cores that servers on the first `cores` leave; on all cores where they leave none."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, mine[cores:] or mine)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(load())
    finally:
        os.sched_setaffinity(0, mine)
