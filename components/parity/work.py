"""The parity step: a bundle and an evaluation of the same model in, nothing out but the assurance."""
# ruff: noqa: PLC0415  # torch takes a second to load

from __future__ import annotations

from typing import Any

from components.artifacts import folder_of
from components.step import step
from model.recipe import load_recipe


def run(bundle: Any, log: Any, evaluation: Any, metrics: Any, *, recipe: str, role: str) -> None:
    """`bundle` to `metrics` are kfp artifacts; the arguments are the component's.

    Never reused: it takes seconds, and what it assures is the files that are there now.
    """
    with step(f"parity {role}") as this:
        from model.bundle.parity import check_parity

        rows = load_recipe(recipe).bundle.parity_rows
        folders = folder_of(bundle, "bundle"), folder_of(log, "log"), folder_of(evaluation, "evaluation")
        found = check_parity(*folders, rows=rows)
        this.notes.append(f"{found.rows} test rows within {found.worst:.0e}")
        metrics.log_metric("rows", found.rows)
        metrics.log_metric("largest_difference", found.worst)
