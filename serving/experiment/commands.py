"""`mgoe experiment`: report on an experiment, plan its size and duration."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Report on an experiment; plan its size.")


@app.callback()
def experiment() -> None:
    """Report on an experiment; plan its size and duration."""
