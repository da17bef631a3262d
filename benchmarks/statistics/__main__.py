"""`python -m benchmarks.statistics`: error rates, coverage, power, real experiments, time of a verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from benchmarks import results
from benchmarks.results import Row, machine_facts, write_results
from benchmarks.statistics import asos, errors, growing, power, rare, verdicts
from benchmarks.statistics.verdict_time import verdict_rows

SEED = 20260601


def main(
    runs: Annotated[
        int,
        typer.Option(help="Simulated A/A experiments of each world; a quarter of them for the smaller tables.", min=10),
    ] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder for statistics.json and statistics.md.")] = results.FOLDER,
    data: Annotated[Path | None, typer.Option(help="Folder that holds ab_asos/; default MGOE_DATA.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder of finished parts, to go on from.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another one draws other runs.")] = 0,
) -> None:
    """Simulate, measure, print and write."""
    console = Console()
    series = asos.read_series((data or Path(os.environ.get("MGOE_DATA", "."))) / "ab_asos")

    fewer = max(runs // 4, 10)

    def part(name: str, times: int, measure: Callable[..., Row], *given: object) -> Row:
        row = kept(keep, f"{name}-{times}" + (f"-{seed}" if seed else ""), lambda: measure(*given, times, SEED + seed))
        console.print(f"done: {name}", style="dim")
        return row

    missed = [part(f"errors-{at}", runs, errors.error_row, world) for at, world in enumerate(errors.WORLDS)]
    grown = [
        part(f"growing-{days}-{users}", fewer, growing.growing_row, days, users)
        for users in (False, True)
        for days in growing.ENTRY_DAYS
    ]
    few = [part(f"rare-{share}-{sigma}", fewer, rare.rare_row, share, sigma) for share, sigma in rare.CASES]
    judged = [
        part(f"verdicts-{at}", fewer, verdicts.verdict_error_row, truth) for at, truth in enumerate(verdicts.TRUTHS)
    ]
    found = [part(f"power-{lift}", fewer, power.power_row, lift) for lift in power.LIFTS]
    tables: dict[str, list[Row]] = {
        f"Percent of {runs:,} runs that ever miss the truth, looked at after every batch; 5 % level": [
            {"world": row["world"], **row["ever"]} for row in missed
        ],
        "Percent that miss it at the last look": [{"world": row["world"], **row["last"]} for row in missed],
        f"Percent of {fewer:,} A/A runs that ever reject, while units' values still grow": grown,
        f"Percent of {fewer:,} A/A runs that ever reject, with rare or skewed outcomes under a ramp": few,
        f"Percent of {fewer:,} experiments whose verdict is ever so; three metrics under a ramp, margins 20 %": judged,
        f"Power by 24,000 units, looked at 48 times, {fewer:,} runs": found,
        "78 real experiments (ASOS)": asos.asos_rows(series),
        "Time of a verdict from the aggregates": verdict_rows(),
    }
    for title, rows in tables.items():
        console.print(f"\n{title}", style="bold", markup=False)
        console.print("\n".join(results.markdown_table(rows)), markup=False, soft_wrap=True)
    command = f"python -m benchmarks.statistics --runs {runs}"
    path = write_results("statistics", command, machine_facts(("numpy", "scipy")), tables, out)
    console.print(f"\n{path}", soft_wrap=True)


def kept(folder: Path | None, name: str, compute: Callable[[], Row]) -> Row:
    """The row of that name from the folder, or computed and put there."""
    if folder is None:
        return compute()
    path = folder / f"{name}.json"
    if path.exists():
        return cast("Row", json.loads(path.read_text()))
    row = compute()
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row))
    return row


if __name__ == "__main__":
    typer.run(main)
