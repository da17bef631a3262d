"""All speed comparisons in one run: `python -m benchmarks.speed`. Writes benchmarks/results/speed.{json,md}."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import machine_facts, write_results
from benchmarks.speed import epochs, graph, nets, workers


def main(
    rows: Annotated[int, typer.Option(help="Interactions of the graph's log.")] = 6_000_000,
    steps: Annotated[int, typer.Option(help="Measured training steps of the quick cases.")] = 12,
    epoch_rows: Annotated[int, typer.Option(help="Rows of a measured epoch.")] = 30_000,
) -> None:
    """Measure graph counting and training against their peers (under 10 minutes on a quiet machine)."""
    console = Console(width=140)
    counted = graph.measure(rows=rows)
    graph.show(console, counted)
    trained = nets.measure(steps=steps)
    nets.show(console, trained)
    whole = epochs.measure(rows=epoch_rows)
    epochs.show(console, whole)
    scaled = workers.measure(rows=epoch_rows // 2)
    workers.show(console, scaled)
    path = write_results(
        "speed",
        f"python -m benchmarks.speed --rows {rows} --steps {steps} --epoch-rows {epoch_rows}",
        machine_facts(("torch", "numpy", "duckdb", "torch-rechub")),
        {
            "Graph counting, rows a second (ours on one thread; equal outputs asserted)": [
                {
                    "step": one.what,
                    "ours": round(one.rows / one.ours),
                    "peer": one.peer,
                    "theirs": round(one.rows / one.theirs),
                    "ratio": round(one.ratio, 1),
                }
                for one in counted
            ],
            f"Training, rows a second (forward, backward, Adam; {nets.ROWS} rows a step)": [
                {
                    "case": one.what,
                    "threads": one.threads,
                    "ours": round(one.ours),
                    "theirs": round(one.theirs),
                    "ratio": round(one.ratio, 1),
                }
                for one in trained
            ],
            f"Whole epochs on one thread, rows a second (from arrays to updated weights; {epochs.BATCH} rows a step)": [
                {
                    "case": one.what,
                    "ours": round(one.ours),
                    "torch-rechub's loop": round(one.theirs),
                    "ratio": round(one.ours / one.theirs, 1),
                    "its network on ready batches": round(one.ready),
                    "ratio to that": round(one.ours / one.ready, 1),
                }
                for one in whole
            ],
            f"Our loop on one and two workers, rows a second (one thread and {epochs.BATCH} rows a step each)": [
                {
                    "case": one.what,
                    "id tables": one.tables,
                    "one": round(one.one),
                    "two": round(one.two),
                    "efficiency": round(one.efficiency, 2),
                }
                for one in scaled
            ],
        },
    )
    console.print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
