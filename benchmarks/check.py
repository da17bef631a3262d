"""`python -m benchmarks.check`: new results against the stored ones. Exit code 1: a figure is worse by more than noise.

Compares the results in the working tree with those of a commit, ratios alone; what is noise is known from repeated
runs (`python -m benchmarks.suite --repeat N`), which lie beside the stored results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.results import FOLDER, QUICK_FOLDER
from benchmarks.suite.benchmark import Benchmark
from benchmarks.suite.catalogue import NAMES, chosen
from benchmarks.suite.comparison import Compared, Finding, compare
from benchmarks.suite.figures import figures_of
from benchmarks.suite.repeats import band_text, read_bands
from benchmarks.suite.stored import Results, Source, in_commit, in_folder
from model.errors import MgoeError, UserError

_STYLES: dict[Finding, str] = {"worse": "bold red", "better": "green", "missing": "yellow", "new": "cyan"}


@dataclass
class Checked:
    """What a comparison found."""

    figures: list[Compared] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be compared, and what makes a comparison doubtful."""

    def of(self, finding: Finding) -> list[Compared]:
        """Figures of one finding."""
        return [one for one in self.figures if one.finding == finding]


def main(
    only: Annotated[str, typer.Option(help=f"Some, by comma, of: {', '.join(NAMES)}.")] = ",".join(NAMES),
    quick: Annotated[bool, typer.Option("--quick", help="Results of --quick runs.")] = False,
    against: Annotated[str, typer.Option(help="Commit or folder of the stored results.")] = "HEAD",
    new: Annotated[Path | None, typer.Option(help="Folder of the new results. [default: benchmarks/results]")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show figures that are as before, too.")] = False,
) -> None:
    """Compare, tell, and fail where something is worse."""
    console = Console(width=200)
    folder = QUICK_FOLDER if quick else FOLDER
    try:
        if new is not None and not new.is_dir():
            raise UserError(f"--new {new}: write a folder of results")
        stored = in_folder(Path(against)) if Path(against).is_dir() else in_commit(against, folder)
        checked = check(chosen(only), stored, in_folder(new or folder))
    except MgoeError as error:
        typer.echo(error, err=True)
        raise typer.Exit(error.exit_code) from error
    show(console, checked, every=every)
    if checked.of("worse"):
        raise typer.Exit(1)


def check(benchmarks: Sequence[Benchmark], stored: Source, new: Source) -> Checked:
    """Compares what was measured again. Raises UserError where a file is no results."""
    checked = Checked()
    for benchmark in benchmarks:
        before, measured = stored(benchmark.name), new(benchmark.name)
        if measured is None or measured == before:
            checked.notes.append(f"{benchmark.name}: not measured again")
        elif before is None:
            checked.notes.append(f"{benchmark.name}: nothing is stored to compare with")
        elif before.command != measured.command:
            told = f"stored is that of `{before.command}`, measured that of `{measured.command}`"
            checked.notes.append(f"{benchmark.name}: not compared: {told}")
        else:
            checked.notes += _doubts(benchmark, before, measured)
            figures = [figures_of(benchmark, one.tables) for one in (before, measured)]
            checked.figures += compare(figures[0], figures[1], read_bands(benchmark, stored))
    return checked


def _doubts(benchmark: Benchmark, before: Results, measured: Results) -> list[str]:
    notes = []
    for name in ("processor", "cores", "memory_gib"):
        was, now = before.machine.get(name), measured.machine.get(name)
        if was != now:
            notes.append(f"{benchmark.name}: another machine, ratios may differ: {name} {was} is now {now}")
    found = figures_of(benchmark, measured.tables)
    there = {one.ratio.kind for one in found.values()}
    none = [ratio for ratio in benchmark.ratios if ratio.kind not in there]
    return notes + [
        f"{benchmark.name}: no {one.kind}: no figure {one.column!r} in a table {one.table!r}" for one in none
    ]


def show(console: Console, checked: Checked, *, every: bool = False) -> None:
    """The table, the notes, and one line of sums."""
    shown = checked.figures if every else [one for one in checked.figures if one.finding != "as before"]
    if shown:
        table = Table("figure", "finding", "stored", "measured", "change", "band")
        for one in shown:
            table.add_row(*_cells(one), style=_STYLES.get(one.finding, ""))
        console.print(table)
    for note in checked.notes:
        console.print(note, highlight=False, markup=False)
    findings: tuple[Finding, ...] = ("worse", "better", "as before", "not judged", "missing", "new")
    sums = ", ".join(f"{len(checked.of(finding))} {finding}" for finding in findings)
    console.print(f"{len(checked.figures)} figures: {sums}", highlight=False)


def _cells(one: Compared) -> tuple[str, ...]:
    values = ["-" if value is None else f"{value:.4g}" for value in (one.stored, one.measured)]
    return (one.name, one.finding, *values, _change(one), band_text(one.band, one.scale))


def _change(one: Compared) -> str:
    if one.stored is None or one.measured is None:
        return "-"
    if one.scale == "difference":
        return f"{one.measured - one.stored:+.2g}"
    return f"{one.measured / one.stored - 1:+.0%}" if one.stored > 0 else "-"


if __name__ == "__main__":
    typer.run(main)
