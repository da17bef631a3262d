"""`python -m benchmarks.suite`: every benchmark, one after the other. Writes benchmarks/results/*.{json,md}."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.results import FOLDER, QUICK_FOLDER, machine_facts
from benchmarks.suite.benchmark import Benchmark
from benchmarks.suite.catalogue import NAMES, chosen
from benchmarks.suite.repeats import write_repeats
from benchmarks.suite.run import Places, missing, run
from benchmarks.suite.stored import Results, in_folder
from model.errors import Fault, MgoeError


def main(  # noqa: PLR0917 - typer's options
    only: Annotated[str, typer.Option(help=f"Some, by comma, of: {', '.join(NAMES)}.")] = ",".join(NAMES),
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, some minutes in all; into a folder of their own.")
    ] = False,
    repeat: Annotated[
        int, typer.Option(min=1, help="Runs of each; of 2 or more the spread is stored: the bands of benchmarks.check.")
    ] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder of kuairand_pure/ and ab_asos/; default MGOE_DATA.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for logs, and for what a benchmark keeps to go on from.")] = Path(
        "runs/bench"
    ),
    out: Annotated[Path | None, typer.Option(help="Folder for the results. [default: benchmarks/results]")] = None,
) -> None:
    """Run, print every table, and write the results; a full run takes hours, most of them for quality.

    What this machine has no data or programs for is left out and told. Exit code 1: a benchmark failed.
    """
    console = Console(width=200)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = out or (QUICK_FOLDER if quick else FOLDER)
    given = data or (Path(os.environ["MGOE_DATA"]) if os.environ.get("MGOE_DATA") else None)
    places = Places(given and given.absolute(), work.absolute())
    try:
        failed = [each.name for each in chosen(only) if not _measure(console, each, quick, repeat, places, folder)]
    except MgoeError as error:
        typer.echo(error, err=True)
        raise typer.Exit(error.exit_code) from error
    if failed:
        console.print(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)


def _measure(  # noqa: PLR0917 - the command's options
    console: Console, benchmark: Benchmark, quick: bool, repeat: int, places: Places, folder: Path
) -> bool:
    """Whether all runs of it ended well, or it was left out. The first run's results are kept."""
    lacks = missing(benchmark, places)
    if lacks:
        console.print(f"{benchmark.name}: left out: {lacks}", highlight=False)
        return True
    found: list[Results] = []
    with tempfile.TemporaryDirectory() as aside:
        for number in range(repeat):
            results = Path(aside) / str(number) if number else folder
            outcome = run(benchmark, quick=quick, seed=number, places=places, results=results)
            console.print(f"{benchmark.name}: {outcome.minutes:.1f} minutes  {outcome.command}", highlight=False)
            if outcome.failure:
                console.print(outcome.failure, highlight=False, markup=False)
                return False
            measured = in_folder(results)(benchmark.name)
            if measured is None:
                raise Fault(f"{outcome.command}: it wrote no {benchmark.name}.json into {results}")
            found.append(measured)
    console.print((folder / f"{benchmark.name}.md").read_text(), highlight=False, markup=False, soft_wrap=True)
    if repeat > 1:
        write_repeats(benchmark, _command(benchmark, quick, repeat), machine_facts(()), found, folder)
    return True


def _command(benchmark: Benchmark, quick: bool, repeat: int) -> str:
    return f"python -m benchmarks.suite --only {benchmark.name}{' --quick' if quick else ''} --repeat {repeat}"


if __name__ == "__main__":
    typer.run(main)
