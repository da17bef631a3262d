"""All serving comparisons in one run: `python -m benchmarks.serving`. Writes benchmarks/results/serving.{json,md}."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import Row, machine_facts, write_results
from benchmarks.serving.contenders import contenders
from benchmarks.serving.measure import FRACTIONS, Cell, Plan, in_process, measure
from benchmarks.serving.world import make_bundles
from model.bundle.bundle import open_bundle
from model.bundle.footprint import footprint

FULL = Plan(candidates=(50, 500, 2000), cores=(1, 2), seconds=4.0)
QUICK = Plan(candidates=(50, 500), cores=(1,), seconds=1.5)
PACKAGES = ("torch", "onnxruntime", "kserve", "torchserve", "fastapi", "uvicorn")


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Short loads, small tables, one core; nothing is kept.")
    ] = False,
    models: Annotated[str, typer.Option(help="Architectures, with commas between.")] = "mmoe,mgoe",
    only: Annotated[str, typer.Option(help="Parts of contenders' names, with commas between. [default: all]")] = "",
    seconds: Annotated[float, typer.Option(help="Seconds of every load. [default: 4, quick 1.5]")] = 0.0,
    work: Annotated[Path | None, typer.Option(help="Folder for bundles and logs. [default: a temporary one]")] = None,
) -> None:
    """Measure the ranking servers against a plain FastAPI server and TorchServe's stock handler style."""
    console = Console(width=160)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers that were started are ended on the way out
    base = QUICK if quick else FULL
    parts = tuple(part.strip() for part in only.split(",") if part.strip())
    plan = Plan(base.candidates, base.cores, seconds or base.seconds, parts)
    with tempfile.TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        made = make_bundles(folder, quick=quick)
        bundles = {name: made[name] for name in models.split(",")}
        cells = measure(bundles, contenders(folder / "cache"), plan, folder / "servers", console)
        tables = _tables(cells, bundles, folder / "cache", 50 if quick else 400)
    for title, rows in tables.items():
        console.print(f"\n[bold]{title}[/]")
        for row in rows:
            console.print("  " + "  ".join(f"{key} {value}" for key, value in row.items()), highlight=False)
    if not quick:
        path = write_results("serving", "python -m benchmarks.serving", machine_facts(PACKAGES), tables)
        console.print(f"written to {path}")


def _tables(cells: Sequence[Cell], bundles: dict[str, Path], cache: Path, calls: int) -> dict[str, list[Row]]:
    return {
        "Throughput, requests a second (16 clients, closed loop), and how many times the plain server's": [
            _throughput(cell, _plain(cell, cells)) for cell in cells
        ],
        "Latency in ms from the scheduled moment (open loop, Poisson), at shares of the plain server's throughput": [
            _latency(cell, place) for cell in cells for place in range(len(FRACTIONS))
        ],
        "p99 below the plain server's at every load": [
            _below(cell, plain) for cell in cells if (plain := _plain(cell, cells)) is not cell
        ],
        "A call on KServe over in-process scoring, p50 in ms (lightest load, one core)": [
            row for name, bundle in bundles.items() for row in _overhead(name, bundle, cells, cache, calls)
        ],
        "Memory of tables and embeddings, mapped once for all workers": [
            {"model": name, "part": part, "MB": round(size, 1), "MB per million": "" if per is None else round(per)}
            for name, bundle in bundles.items()
            for part, size, per in footprint(bundle, open_bundle(bundle)).lines()
        ],
    }


def _plain(cell: Cell, cells: Sequence[Cell]) -> Cell:
    same = (cell.model, cell.cores, cell.candidates)
    return next(each for each in cells if (each.model, each.cores, each.candidates) == same)


def _place(cell: Cell) -> Row:
    return {"model": cell.model, "cores": cell.cores, "candidates": cell.candidates, "server": cell.contender}


def _throughput(cell: Cell, plain: Cell) -> Row:
    return _place(cell) | {
        "requests/s": round(cell.capacity.throughput),
        "times plain": round(cell.capacity.throughput / plain.capacity.throughput, 1),
        "failed": cell.capacity.failed,
        "memory MB (PSS)": round(cell.memory_mb),
    }


def _latency(cell: Cell, place: int) -> Row:
    load = cell.loads[place]
    quantiles = {"p50": load.p50, "p95": load.p95, "p99": load.p99}
    return _place(cell) | {
        "share": FRACTIONS[place],
        "requests/s": round(load.offered),
        **{name: round(value, 2) for name, value in quantiles.items()},
        "failed": load.failed,
    }


def _below(cell: Cell, plain: Cell) -> Row:
    ratios = [mine.p99 / theirs.p99 for mine, theirs in zip(cell.loads, plain.loads, strict=True)]
    return _place(cell) | {
        **{f"at {share}": round(ratio, 2) for share, ratio in zip(FRACTIONS, ratios, strict=True)},
        "below": "yes" if max(ratios) < 1 else "no",
    }


def _overhead(name: str, bundle: Path, cells: Sequence[Cell], cache: Path, calls: int) -> list[Row]:
    rows: list[Row] = []
    for cell in cells:
        if cell.model != name or cell.cores != 1 or cell.contender != "mgoe on KServe, chosen":
            continue
        alone = in_process(bundle, cell.candidates, cache, calls)
        over = cell.loads[0].p50 - alone["rank"]
        row = {"model": name, "candidates": cell.candidates, "in process": round(alone["rank"], 2)}
        row["with parsing and writing"] = round(alone["parse, rank, write"], 2)
        rows.append(row | {"on KServe": round(cell.loads[0].p50, 2), "overhead": round(over, 2)})
    return rows


if __name__ == "__main__":
    typer.run(main)
