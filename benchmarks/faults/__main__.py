"""`python -m benchmarks.faults`: faults on a real local stack under users. Writes benchmarks/results/faults.*."""

from __future__ import annotations

import contextlib
import json
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
from benchmarks.results import FOLDER, Row, machine_facts, write_results
from model.errors import MgoeError
from serving.stack.folder import StackFolder

TITLE = f"Faults under {RATE:g} requests a second; load is the machine's, over its last minute"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Some of: {', '.join(SCENARIOS)}; rows of others stay.")
    ] = None,
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
    facts["seed"] = seed
    commit = facts.pop("commit")
    made = {row["fault"]: row | {"commit": commit} for row in rows}
    path = write_results("faults", "python -m benchmarks.faults", facts, {TITLE: _with_others(made)})
    console.print(f"written to {path}")


def _with_others(made: dict[str, Row]) -> list[Row]:
    """In the order of the scenarios, with the rows of before of those that were not run."""
    before = FOLDER / "faults.json"
    kept = json.loads(before.read_text())["tables"].get(TITLE, []) if before.exists() else []
    rows = {row["fault"]: row for row in kept} | made
    return [rows[name] for name in SCENARIOS if name in rows]


if __name__ == "__main__":
    typer.run(main)
