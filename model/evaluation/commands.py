"""`mgoe evaluate` and `mgoe compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.evaluation import run
from model.evaluation.comparison import read_comparison
from model.evaluation.config import EvaluationConfig
from model.evaluation.tables import comparison_table, evaluation_table, slice_table

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Measure models on the test slice.")

_DEFAULTS = EvaluationConfig()
Replicates = Annotated[int, typer.Option(help="Bootstrap replicates.", min=100)]
Level = Annotated[float, typer.Option(help="Coverage of the intervals.", min=0.5, max=0.999)]
Bins = Annotated[int, typer.Option(help="Equal-mass bins of the calibration error.", min=2, max=100)]
Seed = Annotated[int, typer.Option(help="Seed of the resampling.", min=0)]


@app.command()
def evaluate(
    *,
    model: Annotated[Path, typer.Option(help="The model artifact.")],
    log: Annotated[Path, typer.Option(help="The log artifact whose test rows are scored.")],
    out: Annotated[Path, typer.Option(help="Where the evaluation artifact goes.")],
    graph: Annotated[Path | None, typer.Option(help="The macro graph that the model was trained on.")] = None,
    replicates: Replicates = _DEFAULTS.replicates,
    level: Level = _DEFAULTS.level,
    bins: Bins = _DEFAULTS.bins,
    seed: Seed = _DEFAULTS.seed,
) -> None:
    """Measure one model on the test slice: metrics with intervals, per-row predictions, a report."""
    console = Console()
    with console.status("scoring and measuring the test rows"):
        run.evaluate(model, log, graph, out, EvaluationConfig(replicates=replicates, level=level, bins=bins, seed=seed))
    metrics = run.read_metrics(out)
    console.print(evaluation_table(metrics.measurements, metrics.tasks))
    console.print(f"report: {out / run.EVALUATION_REPORT}", soft_wrap=True)


@app.command()
def compare(
    *,
    baseline: Annotated[Path, typer.Option(help="The baseline's evaluation artifact.")],
    candidate: Annotated[Path, typer.Option(help="The candidate's evaluation artifact.")],
    out: Annotated[Path, typer.Option(help="Where the comparison artifact goes.")],
    replicates: Replicates = _DEFAULTS.replicates,
    level: Level = _DEFAULTS.level,
    bins: Bins = _DEFAULTS.bins,
    seed: Seed = _DEFAULTS.seed,
) -> None:
    """Compare two evaluations of the same test rows, paired: differences with intervals, a verdict, a report."""
    console = Console()
    with console.status("drawing users and comparing"):
        run.compare(
            baseline, candidate, out, EvaluationConfig(replicates=replicates, level=level, bins=bins, seed=seed)
        )
    comparison = read_comparison(out)
    console.print(comparison_table(comparison))
    console.print(slice_table(comparison))
    console.print(comparison.verdict)
    for note in comparison.uncertain:
        console.print(f"uncertain: {note}", style="dim", markup=False)
    console.print(f"report: {out / run.COMPARISON_REPORT}", soft_wrap=True)
