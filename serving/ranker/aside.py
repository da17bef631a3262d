"""Compiles for a bundle in a process of its own, into the cache.

torch.export replaces the call of every module of its process while it traces: a server that traced beside its requests
would fail those, and trace them into the graph.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from serving.ranker.settings import RankerSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0


def compile_aside(source: str | Path, settings: RankerSettings) -> None:
    """Fills the cache for the bundle at `source`, and waits for it. What fails is logged: the load that follows goes
    without it, and says what is wrong with the bundle itself."""
    command = [sys.executable, "-m", "serving.ranker.aside", str(source), settings.model_dump_json()]
    try:
        done = subprocess.run(  # noqa: S603  # this program, with its own settings
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("bundle %s is not compiled: %s", source, str(error).splitlines()[0][:300])
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        log.warning("bundle %s is not compiled: %s", source, last[:300])


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
