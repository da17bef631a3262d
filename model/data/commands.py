"""`mgoe data`: check, ingest, describe and make logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.artifact.manifest import read_manifest
from model.data.artifact import read_dataset, read_encoders
from model.data.check import check
from model.data.finding import Finding
from model.data.ingest import ingest
from model.data.place import open_place
from model.data.schema_file import resolve_schema
from model.data.summary import describe_features, describe_parts
from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.errors import UserError

app = typer.Typer(add_completion=False, help="Check, ingest, describe and generate logs.", no_args_is_help=True)

LogArgument = Annotated[str, typer.Argument(metavar="LOG", help="Folder or s3://bucket/prefix of Parquet.")]
SchemaOption = Annotated[
    str | None,
    typer.Option("--schema", help="Schema file or shipped schema; else the log's schema.yaml, else the shipped one."),
]


@app.command("check")
def check_command(log: LogArgument, schema: SchemaOption = None) -> None:
    """Say all that is wrong with a log; exit 2 where it cannot be ingested."""
    place = open_place(log)
    described = resolve_schema(place, schema)
    findings = check(place, described)
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        colour = "red" if finding.severity == "error" else "yellow"
        console.print(f"[{colour}]{finding.severity}[/]", end=" ")
        console.print(str(finding), markup=False)
    errors = _count(findings, "error")
    if errors:
        raise UserError(f"log {log}: {_plural(errors, 'error')}, {_plural(_count(findings, 'warning'), 'warning')}")
    console.print(f"log {log} can be ingested ({_plural(_count(findings, 'warning'), 'warning')})", markup=False)


@app.command("ingest")
def ingest_command(
    log: LogArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder of the log artifact.")],
    schema: SchemaOption = None,
) -> None:
    """Encode a log into the artifact that every later step reads."""
    manifest = ingest(log, out, schema)
    console = Console(highlight=False)
    console.print(describe_parts(read_dataset(out, mapped=True)))
    if notice := manifest.facts.get("notice"):
        console.print(str(notice), markup=False)
    console.print(f"log artifact {manifest.digest[:12]} in {out}", markup=False)


@app.command("describe")
def describe_command(artifact: Annotated[Path, typer.Argument(help="Folder of a log artifact.")]) -> None:
    """Show the split, the tasks and the features of an ingested log."""
    kind = read_manifest(artifact).kind
    if kind != "log":
        raise UserError(f"{artifact} holds a {kind} artifact; name the folder that `mgoe data ingest --out` wrote")
    dataset = read_dataset(artifact, mapped=True)
    console = Console(highlight=False)
    console.print(describe_parts(dataset))
    console.print(describe_features(dataset, read_encoders(artifact)))


@app.command("synthetic")
def synthetic_command(
    out: Annotated[Path, typer.Option("--out", help="Folder of the new log.")],
    *,
    rows: Annotated[int | None, typer.Option(help="Impressions.")] = None,
    users: Annotated[int | None, typer.Option(help="Users.")] = None,
    items: Annotated[int | None, typer.Option(help="Items.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same log.")] = 0,
    parts: Annotated[int, typer.Option(help="Parquet files that the rows go to.", min=1)] = 1,
    bare: Annotated[bool, typer.Option("--bare", help="Users, items, times and labels alone.")] = False,
) -> None:
    """Write a log with planted user and item clusters: Parquet and schema.yaml."""
    asked = {"rows": rows, "users": users, "items": items, "seed": seed}
    config = synthetic_config({name: value for name, value in asked.items() if value is not None})
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("rows", total=config.rows)
        layout = Layout(parts, bare)
        write_synthetic(out, config, layout, progress=lambda done: progress.advance(bar, done))
    Console(highlight=False).print(f"synthetic log of {config.rows:,} rows in {out}", markup=False)


def synthetic_config(options: dict[str, int]) -> SyntheticConfig:
    """Validated options of the synthetic log. Raises UserError naming the option, its value and what would be right."""
    try:
        return SyntheticConfig.model_validate(options)
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        said = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"--{first['loc'][0]} {first['input']}: {said}") from None


def _count(findings: list[Finding], severity: str) -> int:
    return sum(finding.severity == severity for finding in findings)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
