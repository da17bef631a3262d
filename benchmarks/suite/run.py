"""Runs benchmarks, each a process of its own that writes its results where it is told to."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from benchmarks.results import VARIABLE, commit
from benchmarks.suite.benchmark import Benchmark

LAST = 15
"""Lines of a failed benchmark's output that are shown."""


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes."""

    data: Path | None
    """Holds kuairand_pure/ and ab_asos/."""
    work: Path
    """Logs of the runs, and what benchmarks keep for themselves."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    command: str
    minutes: float
    failure: str = ""
    """Empty: it ran to its end."""


def missing(benchmark: Benchmark, places: Places) -> str:
    """What this machine lacks for it; empty: nothing."""
    for folder in benchmark.needs:
        if places.data is None or not (places.data / folder).is_dir():
            return f"no {folder}/ in MGOE_DATA ({places.data or 'which is not set'})"
    for program in benchmark.programs:
        if not any(Path("/").glob(program.lstrip("/"))):
            return f"no {program}"
    return ""


def run(benchmark: Benchmark, *, quick: bool, seed: int, places: Places, results: Path) -> Outcome:
    """One run. Its output goes to <work>/<name>.log; it is ended where this process is.

    seed: from 0; repeated runs have their own, since with equal ones what is drawn would repeat itself exactly.
    """
    places.work.mkdir(parents=True, exist_ok=True)
    given = benchmark.quick if quick else benchmark.full
    places_of = {"data": str(places.data), "work": str(places.work), "results": str(results)}
    arguments = [argument.format(**places_of, seed=seed, commit=commit()) for argument in given]
    command = ["-m", f"benchmarks.{benchmark.name}", *arguments]
    log = places.work / f"{benchmark.name}.log"
    begun = monotonic()
    with log.open("wb") as output:
        code = _end_of(command, output.fileno(), os.environ | {VARIABLE: str(results)})
    failure = "" if code == 0 else f"exit code {code}; the end of {log}:\n{_last(log)}"
    return Outcome(f"python {shlex.join(command)}", (monotonic() - begun) / 60, failure)


def _end_of(command: list[str], output: int, environment: Mapping[str, str]) -> int:
    child = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output, env=environment)
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def _last(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST:])
