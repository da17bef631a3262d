"""All serving comparisons in one run: `python -m benchmarks.serving`. Writes benchmarks/results/serving.{json,md}."""

# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import machine_facts, write_results
from benchmarks.serving.contenders import KSERVE, contenders, unbatched
from benchmarks.serving.measure import Plan, World, measure
from benchmarks.serving.memory import Memory, memory_of
from benchmarks.serving.paired import Batching, batching
from benchmarks.serving.tables import tables_of
from benchmarks.serving.world import draw_requests, make_bundles
from serving.ranker.ranker import Ranker
from serving.ranker.settings import RankerSettings

FULL = Plan(candidates=(50, 500, 2000), cores=(1, 2), seconds=2.0)
QUICK = Plan(candidates=(50, 500), cores=(1,), seconds=0.7)
DISTINCT = 256
"""Requests that are sent in turns."""
BATCHED = 50
"""Candidates where batches gain most."""
LOW = 0.3
"""Load of the comparison with and without batches, of the plain server's throughput."""
PACKAGES = ("torch", "onnxruntime", "kserve", "torchserve", "fastapi", "uvicorn")


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Short loads, small tables, one core; nothing is kept.")
    ] = False,
    models: Annotated[str, typer.Option(help="Architectures, with commas between.")] = "mmoe,mgoe",
    only: Annotated[str, typer.Option(help="Parts of contenders' names, with commas between. [default: all]")] = "",
    seconds: Annotated[float, typer.Option(help="Seconds of every load. [default: 2, quick 0.7]")] = 0.0,
    work: Annotated[Path | None, typer.Option(help="Folder for bundles and logs. [default: a temporary one]")] = None,
    keep: Annotated[bool, typer.Option("--keep/--discard", help="Write the results' files.")] = True,
) -> None:
    """Measure the ranking servers against a plain FastAPI server and TorchServe's stock handler style.

    A full run takes 15 to 20 minutes on two cores.
    """
    console = Console(width=160)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers that were started are ended on the way out
    base = QUICK if quick else FULL
    parts = tuple(part.strip() for part in only.split(",") if part.strip())
    plan = Plan(base.candidates, base.cores, seconds or base.seconds, parts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        made = make_bundles(folder, quick=quick)
        worlds = [_world(name, made[name], folder / "cache", plan) for name in models.split(",")]
        cells = measure(worlds, contenders(folder / "cache"), plan, folder / "servers", console)
        batched = {world.model: _batching(world, folder / "cache", plan, console) for world in worlds}
        memory = _memory(worlds, folder, plan, console, quick=quick)
    tables = tables_of(cells, batched, memory)
    for title, rows in tables.items():
        console.print(f"\n[bold]{title}[/]")
        for row in rows:
            console.print("  " + "  ".join(f"{key} {value}" for key, value in row.items()), highlight=False)
    if keep and not quick:
        path = write_results("serving", "python -m benchmarks.serving", machine_facts(PACKAGES), tables)
        console.print(f"written to {path}")


def _world(name: str, bundle: Path, cache: Path, plan: Plan) -> World:
    requests = {size: draw_requests(bundle, size, DISTINCT) for size in plan.candidates}
    return World(name, bundle, Ranker.load(bundle, RankerSettings(cache=cache)), requests)


def _batching(world: World, cache: Path, plan: Plan, console: Console) -> Batching:
    console.print(f"[dim]{world.model}: with and without batches[/]")
    [batched] = [each for each in contenders(cache) if each.name == KSERVE]
    rate = LOW * world.rates[1, BATCHED]
    return batching(batched, unbatched(cache), world.bundle, world.requests[BATCHED], rate=rate, seconds=plan.seconds)


def _memory(worlds: Sequence[World], folder: Path, plan: Plan, console: Console, *, quick: bool) -> dict[str, Memory]:
    cache = folder / "cache"
    [contender] = [each for each in contenders(cache) if each.name.endswith("factorised")]
    found = {}
    for world in worlds:
        console.print(f"[dim]{world.model}: memory of two workers[/]")
        found[world.model] = memory_of(contender, world.bundle, folder, cache, quick=quick, seconds=2 * plan.seconds)
    return found


if __name__ == "__main__":
    typer.run(main)
