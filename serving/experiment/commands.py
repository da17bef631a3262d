"""`mgoe experiment`: report on an experiment, plan its size and duration."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.errors import Fault, UserError
from serving.experiment.design import DAY_S
from serving.experiment.document import ExperimentError
from serving.experiment.evidence import EvidenceSeries
from serving.experiment.page import page
from serving.experiment.planning import Phase, plan
from serving.experiment.report import report_json, report_of
from serving.experiment.text_report import text_report

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Report on an experiment; plan its size.")


@app.command()
def report(
    evidence: Annotated[
        Path, typer.Argument(help="Evidence as JSON (`mgoe evidence export`); - reads standard input.")
    ],
    *,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here; - prints them.")] = None,
) -> None:
    """Show each metric's effect with its always-valid interval, the sample ratio and the verdict."""
    found = report_of(_read(evidence))
    if html is not None:
        _write(html, page(found))
    figures = json.dumps(report_json(found), indent=1, allow_nan=False) + "\n"
    if json_file == Path("-"):
        sys.stdout.write(figures)
        return
    if json_file is not None:
        _write(json_file, figures)
    console = Console()
    console.print(text_report(found))
    for written in (html, json_file):
        if written is not None:
            console.print(f"written: {written}", soft_wrap=True, markup=False)


@app.command("plan")
def plan_command(
    *,
    mean: Annotated[float, typer.Option(help="The baseline's mean of a unit; of a proportion, its share.")],
    sd: Annotated[
        float | None, typer.Option(help="Standard deviation of a unit's value; not for a proportion.")
    ] = None,
    lift: Annotated[
        list[float],
        typer.Option(help="Relative effect to find, its size also where less is better; may be given several times."),
    ],
    ramp: Annotated[str, typer.Option(help="Weights x days, e.g. 0.05x2,0.2x2,0.5: the last goes on.")] = "0.5",
    units_a_day: Annotated[float | None, typer.Option(help="Units that enter in a day.", min=1)] = None,
    maturity_days: Annotated[float, typer.Option(help="Days until a unit's outcome counts.", min=0)] = 0.0,
    alpha: Annotated[float, typer.Option(help="Level.", min=1e-6, max=0.49)] = 0.05,
    power: Annotated[float, typer.Option(help="Wanted chance to find the effect.", min=0.5, max=0.999)] = 0.8,
) -> None:
    """Units and days that an effect takes, watched all the time and with one look at the end."""
    if sd is None and not 0 < mean < 1:
        raise UserError(f"--mean {mean}: without --sd it is a proportion, between 0 and 1")
    for one in lift:
        if sd is None and mean * (1 + one) > 1:
            raise UserError(f"--lift {one}: of --mean {mean} it makes a share of {mean * (1 + one):g}, above 1")
    deviation = math.sqrt(mean * (1 - mean)) if sd is None else sd
    phases = _ramp(ramp)
    table = Table(title=f"level {alpha:g}, power {power:g}, at {phases[-1].candidate_weight:.1%} for the candidate")
    for name in ("lift", "units, watched", "units, one look", "days, watched", "days, one look", "planned_units"):
        table.add_column(name, justify="right", no_wrap=name == "planned_units")
    for one in lift:
        try:
            found = plan(
                baseline=mean,
                sd=deviation,
                lift=one,
                alpha=alpha,
                power=power,
                phases=phases,
                units_a_day=units_a_day,
                maturity_s=maturity_days * DAY_S,
            )
        except ExperimentError as error:
            raise UserError(str(error)) from error
        cells = (f"{found.units:,}", f"{found.units_fixed:,}", _days(found.days), _days(found.days_fixed))
        table.add_row(f"{one:.2%}", *cells, f"{found.planned_units:,}")
    Console().print(table)


def _read(place: Path) -> EvidenceSeries:
    try:
        text = sys.stdin.read() if place == Path("-") else place.read_text(encoding="utf-8")
        return EvidenceSeries.from_json(json.loads(text), str(place))
    except FileNotFoundError as error:
        raise UserError(f"{place}: there is no such file; `mgoe evidence export` writes one") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{place}: {error.strerror}; a file of evidence is wanted") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: no UTF-8 text at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: no JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except ExperimentError as error:
        raise UserError(str(error)) from error
    except RecursionError as error:
        raise UserError(f"{place}: brackets within brackets without end are no evidence") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{place}: {error}") from error


def _write(place: Path, text: str) -> None:
    """Writes aside and renames, so that nobody reads half a file; a link stays one, a device or pipe is written to."""
    try:
        if place.exists() and not place.is_file():
            place.write_text(text, encoding="utf-8")
            return
        whole = Path(os.path.realpath(place))
        aside = whole.with_name(f".{whole.name}.part")
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(whole)
        finally:
            aside.unlink(missing_ok=True)
    except FileNotFoundError as error:
        raise UserError(f"{place}: the folder {place.parent} is not there") from error
    except OSError as error:
        raise Fault(f"{place}: {error.strerror}") from error


def _ramp(text: str) -> list[Phase]:
    """`0.05x2,0.5` -> phases. Every phase but the last has its days; that one goes on."""
    phases: list[Phase] = []
    *earlier, last = text.split(",")
    for part in earlier:
        weight, _, days = part.strip().partition("x")
        phases.append(Phase(_number(text, part, weight), _number(text, part, days)))
        if phases[-1].days == 0:
            raise UserError(f"--ramp {text}: {part!r} lasts no time; leave it out")
    if "x" in last:
        raise UserError(f"--ramp {text}: the last weight goes on, so {last!r} takes no days; end like 0.05x2,0.5")
    return [*phases, Phase(_number(text, last, last), 0.0)]


def _number(ramp: str, part: str, number: str) -> float:
    try:
        return float(number)
    except ValueError as error:
        raise UserError(f"--ramp {ramp}: {part!r} is no weight x days, like 0.05x2 (the last: 0.5)") from error


def _days(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
