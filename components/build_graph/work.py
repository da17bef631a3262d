"""The build-graph step: log artifact in, macro graph out."""
# ruff: noqa: PLC0415  # the builder is loaded only where something has to be made

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts import folder_of
from components.step import step
from model.artifact.manifest import Manifest
from model.data.schema_file import SCHEMA_NAME, load_schema
from model.recipe import load_recipe


def run(log: Any, graph: Any, *, recipe: str, store: str | None) -> None:
    """`log` and `graph` are kfp artifacts; the arguments are the component's."""
    with step("build-graph", store) as this:
        choices, source = load_recipe(recipe), folder_of(log, "log")
        choices.check_tasks(load_schema(source / SCHEMA_NAME).task_names)  # here, since it is the first to have both
        config = choices.graph

        def make(out: Path) -> Manifest:
            from model.graph.run import build_graph

            return build_graph(source, out, config)

        # Neither changes what is built, only how: see GraphConfig.
        options = config.model_dump(mode="json", exclude={"shards", "memory_mb"})
        this.produce(graph, entry="model.graph.run", inputs={"log": source}, options=options, make=make)
