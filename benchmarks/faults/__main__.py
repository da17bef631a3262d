"""`python -m benchmarks.faults`: faults on a real local stack under users. Writes benchmarks/results/faults.*."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.faults.disk import small_disk
from benchmarks.faults.kills import deaths
from benchmarks.faults.machine import RATE, Machine
from benchmarks.faults.pair import small_pair
from benchmarks.faults.scenarios import SCENARIOS, run
from benchmarks.results import FOLDER, Row, machine_facts, write_results
from model.errors import MgoeError
from serving.stack.folder import StackFolder

KILLS = "kill -9 of every process of a stack as `mgoe up` starts it, one after the other, under the same users"
KEPT = "What the evidence has of all these users"
TITLE = f"Faults under {RATE:g} requests a second; load is the machine's, over its last minute"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Some of: {', '.join(SCENARIOS)}; rows of others stay.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the users and of the faults.")] = 0,
    kills: Annotated[bool, typer.Option("--kills", help="Kill every process of a whole stack instead.")] = False,
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
        if kills:
            machine = stack.enter_context(Machine(StackFolder.at(folder / "stack"), pair, seed=seed, rankers=None))
            found = deaths(machine)
            _write(seed, {KILLS: found.rows(), KEPT: [found.summary()]}, console)
            return
        disk = stack.enter_context(small_disk(folder / "disk"))
        machine = stack.enter_context(Machine(StackFolder.at(disk.root / "stack"), pair, disk, seed))
        for name in only or SCENARIOS:
            try:
                row = run(name, machine).row()
            except MgoeError as error:
                raise SystemExit(f"{name}: {error}") from error
            rows.append(row)
            console.print(row)
    _write(seed, {TITLE: rows}, console)


def _write(seed: int, made: Mapping[str, list[Row]], console: Console) -> None:
    """With the tables and rows of before that were not made anew."""
    facts = machine_facts(("grpcio", "fastapi", "uvicorn"))
    facts["seed"] = seed
    commit = facts.pop("commit")
    before = FOLDER / "faults.json"
    kept: dict[str, list[Row]] = json.loads(before.read_text())["tables"] if before.exists() else {}
    tables = kept | {title: [row | {"commit": commit} for row in rows] for title, rows in made.items()}
    if TITLE in made:
        rows = {row["fault"]: row for row in [*kept.get(TITLE, []), *tables[TITLE]]}
        tables[TITLE] = [rows[name] for name in SCENARIOS if name in rows]
    path = write_results("faults", "python -m benchmarks.faults [--kills]", facts, tables)
    console.print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
