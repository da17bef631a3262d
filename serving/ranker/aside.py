"""Compiles for a bundle in a process of its own, into the cache.

torch.export replaces the call of every module of its process while it traces: whatever else the process scores then,
with this ranker or another, fails or is traced into the graph. What a compiler takes of memory goes with its process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import TypeAdapter

import serving
from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
_CHILDREN: set[int] = set()
"""Process groups of children that compile now."""
_RUNNING = threading.Lock()
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""


def compile_aside(folder: Path, settings: RankerSettings) -> dict[str, str]:
    """Fills the cache for the verified bundle in `folder`, and waits for it.

    Returns why a scorer cannot be compiled here, by its name. Where the whole process fails, the log says why and
    nothing is returned.
    """
    # What was verified is not fetched again, nor asked for its signature: the cache knows it by its digest.
    told = settings.model_copy(update={"signature": None}).model_dump_json()
    # -P: the folder that the server happens to run in is not where its code comes from.
    command = [sys.executable, "-P", "-m", "serving.ranker.aside", str(folder), told]
    paths = [str(Path(serving.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        child = subprocess.Popen(  # noqa: S603  # this program, with its own settings
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        log.warning("bundle %s is not compiled: %s", folder, error)
        return {}
    with _RUNNING:
        _CHILDREN.add(child.pid)
    try:
        found, said = child.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        log.warning("bundle %s is not compiled: that took longer than %g s", folder, TIMEOUT_S)
        return {}
    finally:
        _end(child.pid)
        child.wait()
    if child.returncode:
        last = (said.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        log.warning("bundle %s is not compiled: %s", folder, last[:300])
        return {}
    # Compilers may write before it.
    return TypeAdapter(dict[str, str]).validate_json(found.splitlines()[-1])


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
    if sys.platform == "linux":  # a server that is killed takes it along
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import torch  # noqa: PLC0415  # the server itself needs none of it from here

    from model.bundle.bundle import open_bundle  # noqa: PLC0415
    from model.errors import MgoeError  # noqa: PLC0415
    from serving.ranker.scorers import make_scorers  # noqa: PLC0415

    folder, told = sys.argv[1:]
    settings = RankerSettings.model_validate_json(told)
    torch.set_num_threads(settings.threads)
    try:
        with torch.no_grad():
            made = make_scorers(open_bundle(Path(folder)), settings)
    except (MgoeError, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write("\n" + json.dumps(made.left_out) + "\n")


if __name__ == "__main__":
    _main()
