"""Compiles for a bundle in a process of its own, into the cache.

torch.export replaces the call of every module of its process while it traces: a server that traced beside its requests
would fail those, and trace them into the graph.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import serving
from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
_CHILDREN: set[int] = set()
"""Process groups of children that compile now."""
_RUNNING = threading.Lock()


def compile_aside(source: str | Path, settings: RankerSettings) -> None:
    """Fills the cache for the bundle at `source`, and waits for it. What fails is logged: the load that follows goes
    without it, and says what is wrong with the bundle itself."""
    # -P: the folder that the server happens to run in is not where its code comes from.
    command = [sys.executable, "-P", "-m", "serving.ranker.aside", str(source), settings.model_dump_json()]
    paths = [str(Path(serving.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        child = subprocess.Popen(  # noqa: S603  # this program, with its own settings
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        log.warning("bundle %s is not compiled: %s", source, error)
        return
    with _RUNNING:
        _CHILDREN.add(child.pid)
    try:
        _, said = child.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        log.warning("bundle %s is not compiled: %s", source, str(error).splitlines()[0][:300])
        return
    finally:
        _end(child.pid)
        child.wait()
    if child.returncode:
        last = (said.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        log.warning("bundle %s is not compiled: %s", source, last[:300])


def end_all() -> None:
    """Ends what compiles, compilers included: a server that goes away leaves nothing behind."""
    for leader in tuple(_CHILDREN):
        _end(leader)


def _end(leader: int) -> None:
    """Kills the process group of a child, once."""
    with _RUNNING:
        if leader not in _CHILDREN:
            return
        _CHILDREN.discard(leader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


def _main() -> None:
    from serving.ranker.load import load_ranker  # noqa: PLC0415  # the server itself needs none of it from here
    from serving.ranker.refusal import NotReady  # noqa: PLC0415

    source, settings = sys.argv[1:]
    try:
        load_ranker(source, RankerSettings.model_validate_json(settings))
    except NotReady as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
