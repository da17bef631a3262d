"""The train step: log and graph in, one trained model out."""
# ruff: noqa: PLC0415  # torch is loaded only where something has to be made

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from components.artifacts import folder_of
from components.measures import log_metrics
from components.step import step
from model.artifact.manifest import Manifest
from model.errors import UserError
from model.recipe import Role, load_recipe
from model.registry.address import check_address


def run(
    log: Any,
    graph: Any,
    model: Any,
    metrics: Any,
    *,
    recipe: str,
    role: str,
    seed: int | None,
    tracking: str | None,
    store: str | None,
) -> None:
    """`log`, `graph`, `model` and `metrics` are kfp artifacts; the arguments are the component's."""
    with step(f"train {role}", store) as this:
        choices = load_recipe(recipe)
        if tracking is not None:
            check_address(tracking)
        config, training = choices.model_of(check_role(role)), choices.training_of(check_role(role))
        if seed is not None:
            training = training.model_copy(update={"seed": seed})
        inputs = {"log": folder_of(log, "log"), "graph": folder_of(graph, "macro-graph")}

        def make(out: Path) -> Manifest:
            from model.training.run import train

            return train(inputs["log"], inputs["graph"], out, config, training, role, tracking, store=store)

        options = {"role": role, "model": config.model_dump(mode="json"), "training": training.deciding()}
        manifest = this.produce(model, entry="model.training.run", inputs=inputs, options=options, make=make)
        log_metrics(metrics, manifest)


def check_role(role: str) -> Role:
    """`role` itself. Raises UserError where it is no role."""
    if role not in {"baseline", "candidate"}:
        raise UserError(f"role {role!r} is unknown; use baseline or candidate")
    return cast("Role", role)
