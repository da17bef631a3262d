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
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from pydantic import TypeAdapter

import serving
from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
_LAST_WORDS_S = 5.0
"""A compiler that left the group may keep the log open."""
_CHILDREN: set[int] = set()
"""Process groups of children that compile now."""
_RUNNING = threading.Lock()
_TOLD = "told: "
"""Begins every line of the child's log, so that it is known among those of compilers."""
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
        with TemporaryFile("w+", encoding="utf-8", errors="replace") as found:
            with _RUNNING:  # so that `end_all` meets no child that is not listed yet
                child = subprocess.Popen(  # noqa: S603  # this program, with its own settings
                    command,
                    stdout=found,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    env=environment,
                    start_new_session=True,
                )
                _CHILDREN.add(child.pid)
            why_not = _wait(child)
            if why_not is None:
                found.seek(0)
                # Compilers may write before it.
                return TypeAdapter(dict[str, str]).validate_json(found.read().splitlines()[-1])
    except OSError as error:
        why_not = str(error)
    log.warning("bundle %s is not compiled: %s", folder, why_not)
    return {}


def _wait(child: subprocess.Popen[str]) -> str | None:
    """Until the child ends; its log is told meanwhile. Returns why it failed, None where it did not."""
    last: deque[str] = deque(maxlen=1)
    follower = threading.Thread(target=_follow, args=(child.stderr or (), last), name="compiler's log", daemon=True)
    follower.start()
    try:
        child.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"that took longer than {TIMEOUT_S:g} s"
    finally:
        _end(child.pid)
        child.wait()
        follower.join(_LAST_WORDS_S)
    if child.returncode < 0:
        return f"its process was ended by signal {-child.returncode}"
    if child.returncode:
        return last[0][:300] if last else f"exit code {child.returncode}"
    return None


def _follow(lines: Iterable[str], last: deque[str]) -> None:
    for line in filter(None, map(str.strip, lines)):
        if line.startswith(_TOLD):
            log.info("%s", line.removeprefix(_TOLD))
        else:
            last.append(line)


def end_all() -> None:
    """Ends what compiles, compilers included: a server that goes away leaves nothing behind."""
    with _RUNNING:
        leaders = tuple(_CHILDREN)
    for leader in leaders:
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

    logging.basicConfig(stream=sys.stderr, format=f"{_TOLD}%(message)s")
    logging.getLogger("serving.ranker").setLevel(logging.INFO)
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
