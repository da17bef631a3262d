"""The evaluate step: one model and the log in, its evaluation on the test slice out."""
# ruff: noqa: PLC0415  # torch is loaded only where something has to be made

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts import folder_of
from components.measures import log_metrics
from components.step import step
from model.artifact.manifest import Manifest
from model.recipe import load_recipe


def run(
    model: Any, log: Any, graph: Any, evaluation: Any, metrics: Any, *, recipe: str, role: str, store: str | None
) -> None:
    """`model`, `log`, `graph`, `evaluation` and `metrics` are kfp artifacts; the arguments are the component's."""
    with step(f"evaluate {role}", store) as this:
        config = load_recipe(recipe).evaluation
        inputs = {
            "model": folder_of(model, "model"),
            "log": folder_of(log, "log"),
            "graph": folder_of(graph, "macro-graph"),
        }

        def make(out: Path) -> Manifest:
            from model.evaluation.run import evaluate

            return evaluate(inputs["model"], inputs["log"], inputs["graph"], out, config)

        options = config.model_dump(mode="json")
        manifest = this.produce(evaluation, entry="model.evaluation.run", inputs=inputs, options=options, make=make)
        log_metrics(metrics, manifest)
