"""The package step: one model with its log and graph in, the bundle that servers load out."""
# ruff: noqa: PLC0415  # torch is loaded only where something has to be made

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts import folder_of
from components.step import step
from model.artifact.manifest import Manifest
from model.recipe import load_recipe


def run(model: Any, log: Any, graph: Any, bundle: Any, *, recipe: str, role: str, store: str | None) -> None:
    """`model`, `log`, `graph` and `bundle` are kfp artifacts; the arguments are the component's."""
    with step(f"package {role}", store) as this:
        config = load_recipe(recipe).bundle
        inputs = {
            "model": folder_of(model, "model"),
            "log": folder_of(log, "log"),
            "graph": folder_of(graph, "macro-graph"),
        }

        def make(out: Path) -> Manifest:
            from model.bundle.package import package

            return package(inputs["model"], inputs["log"], inputs["graph"], out, config.utility, probes=config.probes)

        options = config.model_dump(mode="json", include={"utility", "probes"})
        this.produce(bundle, entry="model.bundle.package", inputs=inputs, options=options, make=make)
