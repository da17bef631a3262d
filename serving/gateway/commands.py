"""`mgoe gateway`: Envoy's configuration, its process, its live weights, and the assignment."""

from __future__ import annotations

from typing import Annotated

import typer

from serving.gateway import assignment

app = typer.Typer(help="Split traffic between two arms with Envoy.", no_args_is_help=True, add_completion=False)


@app.callback()
def group() -> None:
    """Split traffic between two arms with Envoy."""


@app.command("assign")
def assign_command(
    units: Annotated[list[str], typer.Argument(help="Unit ids.")],
    salt: Annotated[str, typer.Option("--salt", help="Salt of the experiment.")],
    percent: Annotated[float, typer.Option("--percent", min=0, max=100, help="Share of the candidate.")],
) -> None:
    """Say which bucket and arm each unit gets, one line each: unit, bucket, arm (tabs between)."""
    weight = round(percent * 100)
    for unit in units:
        bucket = assignment.bucket(salt, unit)
        typer.echo(f"{unit}\t{bucket}\t{assignment.arm(bucket, weight)}")
