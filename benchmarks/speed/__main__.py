"""All speed comparisons in one run: `python -m benchmarks.speed`. Writes benchmarks/results/speed.{json,md}."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import machine_facts, write_results
from benchmarks.speed import graph, nets


def main(
    rows: Annotated[int, typer.Option(help="Interactions of the graph's log.")] = 6_000_000,
    steps: Annotated[int, typer.Option(help="Measured training steps of the quick cases.")] = 12,
) -> None:
    """Measure graph counting and training steps against their peers."""
    console = Console(width=140)
    counted = graph.measure(rows=rows)
    graph.show(console, counted)
    trained = nets.measure(steps=steps)
    nets.show(console, trained)
    path = write_results(
        "speed",
        f"python -m benchmarks.speed --rows {rows} --steps {steps}",
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
        },
    )
    console.print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
