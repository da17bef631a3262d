"""`python -m benchmarks.scale --users 10e6 --items 1e6`: one server of many. Writes benchmarks/results/scale.*.

A small model is trained and packaged, then its nodes are repeated under new ids until there are as many as asked for:
tables, embeddings, ids and manifest are those of a real bundle of that size, and its probes still score as in training.
The small one is served beside it, in the same run, so that ratios show what size alone costs.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import FOLDER, QUICK_FOLDER, machine_facts, write_results
from benchmarks.scale.served import Load, Served, serve
from benchmarks.scale.table import memory_row, parts_rows, speed_row
from benchmarks.serving.enlarged import enlarge
from benchmarks.serving.world import ARCHITECTURES, make_bundles

PACKAGES = ("torch", "onnxruntime", "kserve")


def main(
    users: Annotated[str, typer.Option(help="Known users, as 10e6.")] = "10e6",
    items: Annotated[str, typer.Option(help="Known items.")] = "1e6",
    models: Annotated[str, typer.Option(help=f"Of {', '.join(ARCHITECTURES)}, with a comma between.")] = "mmoe,mgoe",
    quick: Annotated[bool, typer.Option("--quick", help="50,000 users, 20,000 items, moments.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where bundles are made. [default: a temporary one]")] = None,
) -> None:
    """Serve a bundle of that size by one worker and by two, each on a core of its own."""
    console = Console(width=160)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers that were started are ended on the way out
    sizes = (50_000, 20_000) if quick else (_count("--users", users), _count("--items", items))
    wanted = [name.strip() for name in models.split(",")]
    for name in wanted:
        if name not in ARCHITECTURES:
            raise typer.BadParameter(f"--models {name}: write some of {', '.join(ARCHITECTURES)}")
    load = Load(rounds=1, closed_s=0.5, open_s=1.0) if quick else Load(rounds=3, closed_s=2.0, open_s=10.0)
    served: list[tuple[str, Served, Served]] = []
    with tempfile.TemporaryDirectory() as passing:
        place = folder or Path(passing)
        made = make_bundles(place, quick=True)
        for name in wanted:
            large = place / f"{name}-{sizes[0]}-{sizes[1]}"
            if not large.is_dir():
                enlarge(made[name], large, *sizes)
            many = serve(large, place / f"{large.name}-served", load)
            few = serve(made[name], place / f"{name}-served", load, many.latency.offered)
            served.append((name, few, many))
            console.print(memory_row(name, many), speed_row(name, few, many))
    tables = {
        "What is mapped once for all workers": [row for name, _, large in served for row in parts_rows(name, large)],
        "Memory in MB, after requests for users and items at random; seconds from start to ready, imports included": [
            memory_row(name, one) for name, small, large in served for one in (small, large)
        ],
        "One worker on one core, 500 candidates a request; the same open loop for both sizes": [
            speed_row(name, small, large) for name, small, large in served
        ],
    }
    command = "python -m benchmarks.scale " + ("--quick" if quick else f"--users {users} --items {items}")
    path = write_results("scale", command, machine_facts(PACKAGES), tables, QUICK_FOLDER if quick else FOLDER)
    console.print(f"written to {path}")


def _count(option: str, text: str) -> int:
    try:
        found = int(float(text))
    except (ValueError, OverflowError):
        found = 0
    if found < 50_000 or found >= 2**31:
        raise typer.BadParameter(f"{option} {text}: write a number from 50000 to 2 billion, as 10e6")
    return found


if __name__ == "__main__":
    typer.run(main)
