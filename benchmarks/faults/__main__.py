"""`python -m benchmarks.faults`: faults on a real local stack under users. Writes benchmarks/results/faults.*."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.faults.disk import small_disk
from benchmarks.faults.machine import RATE, Machine
from benchmarks.faults.pair import small_pair
from benchmarks.faults.scenarios import SCENARIOS, run
from benchmarks.results import Row, machine_facts, write_results
from model.errors import MgoeError
from serving.stack.folder import StackFolder


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Some of: {', '.join(SCENARIOS)}; nothing is kept.")] = None,
    seed: Annotated[int, typer.Option(help="Of the users and of the faults.")] = 0,
) -> None:
    """Hurt a stack in every way, one after the other, and tell what it did to users and evidence."""
    console = Console(width=200)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in only or ():
        if name not in SCENARIOS:
            raise SystemExit(f"--only {name}: write one of {', '.join(SCENARIOS)}")
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mgoe-faults-")))
        pair = small_pair(folder)
        disk = stack.enter_context(small_disk(folder / "disk"))
        machine = stack.enter_context(Machine(StackFolder.at(disk.root / "stack"), pair, disk, seed))
        for name in only or SCENARIOS:
            try:
                row = run(name, machine).row()
            except MgoeError as error:
                raise SystemExit(f"{name}: {error}") from error
            rows.append(row)
            console.print(row)
    facts = machine_facts(("grpcio", "fastapi", "uvicorn"))
    facts["seed"], facts["load_at_end"] = seed, f"{os.getloadavg()[0]:.1f}"
    if only is None:
        path = write_results(
            "faults", "python -m benchmarks.faults", facts, {f"Faults under {RATE:g} requests a second": rows}
        )
        console.print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
