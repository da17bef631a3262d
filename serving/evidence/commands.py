"""`mgoe evidence`: serve the intake, migrate the database, read a gateway's log, export, delete, prune."""

from __future__ import annotations

import typer

app = typer.Typer(help="Take in exposures and outcomes, and keep them.", no_args_is_help=True, add_completion=False)


@app.callback()
def _root() -> None:
    """Take in exposures and outcomes, and keep them."""
