"""All serving comparisons in one run: `python -m benchmarks.serving`. Writes benchmarks/results/serving.{json,md}."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import FOLDER, machine_facts, write_results
from benchmarks.serving.measure import World
from benchmarks.serving.run import FULL, PARTS, QUICK, Run, Schedule
from benchmarks.serving.tables import Report
from benchmarks.serving.world import draw_requests, make_bundles
from serving.ranker.ranker import Ranker
from serving.ranker.settings import RankerSettings

DISTINCT = 256
"""Requests that are sent in turns."""
PACKAGES = ("torch", "onnxruntime", "kserve", "torchserve", "fastapi", "uvicorn")


def main(  # noqa: PLR0917  # options of a command
    quick: Annotated[
        bool, typer.Option("--quick", help="Moments and small tables, to see every part work; nothing is kept.")
    ] = False,
    models: Annotated[str, typer.Option(help="Architectures, with commas between.")] = "mmoe,mgoe",
    parts: Annotated[str, typer.Option(help="Parts, with commas between; batching needs main.")] = ",".join(PARTS),
    cell: Annotated[
        str | None, typer.Option(help="Candidates and cores, as 500,1: this cell of main alone; nothing is kept.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for bundles and logs. [default: a temporary one]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results. [default: benchmarks/results, none if --quick or --cell]"),
    ] = None,
) -> None:
    """Measure the ranking servers against a plain FastAPI server and TorchServe's stock handler style.

    A full run takes about 18 minutes on two cores. Results are written after every part.
    """
    console = Console(width=160)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers that were started are ended on the way out
    wanted = tuple(part.strip() for part in parts.split(","))
    if unknown := [part for part in wanted if part not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]!r}: write some of {', '.join(PARTS)}")
    if "batching" in wanted and "main" not in wanted:
        raise typer.BadParameter("batching loads a share of what main measures: write main too")
    schedule = replace(QUICK if quick else FULL, parts=wanted)
    if cell is not None:
        schedule = _only(schedule, cell)
    folder_out = out or (None if quick or cell else FOLDER)
    facts = machine_facts(PACKAGES)

    def save(report: Report) -> None:
        if folder_out is not None:
            write_results("serving", "python -m benchmarks.serving", facts, report.tables(), folder_out)

    with tempfile.TemporaryDirectory() as passing:
        folder = scratch or Path(passing)
        made = make_bundles(folder, quick=quick)
        worlds = [
            _world(name, made[name], folder / f"cache-{name}", tuple(schedule.main)) for name in models.split(",")
        ]
        report = Run(worlds, schedule, folder, console, save).all()
    for title, rows in report.tables().items():
        console.print(f"\n[bold]{title}[/]")
        for row in rows:
            console.print("  " + "  ".join(f"{key} {value}" for key, value in row.items()), highlight=False)
    if folder_out is not None:
        console.print(f"written to {folder_out}")
    if report.failed:
        raise typer.Exit(1)


def _only(schedule: Schedule, cell: str) -> Schedule:
    """The schedule of one cell of main, without the calls one by one."""
    size, _, cores = (int(part) if part.strip().isdecimal() else 0 for part in cell.partition(","))
    if size not in schedule.main or cores not in schedule.cores:
        known = ", ".join(map(str, schedule.main))
        raise typer.BadParameter(f"--cell {cell!r}: write candidates ({known}) and cores (1, 2), as 500,1")
    return replace(schedule, parts=("main",), main={size: schedule.main[size]}, cores=(cores,), overhead_rounds=1)


def _world(name: str, bundle: Path, cache: Path, sizes: Sequence[int]) -> World:
    requests = {size: draw_requests(bundle, size, DISTINCT) for size in sizes}
    return World(name, bundle, Ranker.load(bundle, RankerSettings(cache=cache)), requests, cache)


if __name__ == "__main__":
    typer.run(main)
