"""The compare step: two evaluations in, the paired comparison and its report out."""
# ruff: noqa: PLC0415  # numpy and matplotlib are loaded only where something has to be made

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from components.artifacts import folder_of
from components.measures import log_metrics
from components.step import step
from model.artifact.manifest import Manifest
from model.recipe import load_recipe

REPORT = "report.html"


def run(
    baseline: Any, candidate: Any, comparison: Any, metrics: Any, report: Any, *, recipe: str, store: str | None
) -> None:
    """`baseline` to `report` are kfp artifacts; the arguments are the component's."""
    with step("compare", store) as this:
        config = load_recipe(recipe).evaluation
        sides = {"baseline": folder_of(baseline, "evaluation"), "candidate": folder_of(candidate, "evaluation")}

        def make(out: Path) -> Manifest:
            from model.evaluation.run import compare

            return compare(sides["baseline"], sides["candidate"], out, config)

        options = config.model_dump(mode="json")
        manifest = this.produce(comparison, entry="model.evaluation.run", inputs=sides, options=options, make=make)
        log_metrics(metrics, manifest)
        shutil.copyfile(Path(comparison.path) / REPORT, report.path)
