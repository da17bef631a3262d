"""The train step: log and graph in, one trained model out."""
# ruff: noqa: PLC0415  # torch is loaded only where something has to be made

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from components.artifacts import folder_of
from components.measures import log_metrics
from components.step import step
from components.train.placement import address_in_store, read_job, spread
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
    job: str | None = None,
) -> None:
    """`log`, `graph`, `model` and `metrics` are kfp artifacts; the arguments are the component's.

    job: options of the job that trains instead of this process.
    """
    with step(f"train {role}", store) as this:
        choices = load_recipe(recipe)
        if tracking is not None:
            check_address(tracking)
        config, training = choices.model_of(check_role(role)), choices.training_of(check_role(role))
        if seed is not None:
            training = training.model_copy(update={"seed": seed})
        inputs = {"log": folder_of(log, "log"), "graph": folder_of(graph, "macro-graph")}

        cluster = None if job is None else read_job(job)
        order: dict[str, object] = {}
        if cluster is not None:
            order = {
                "log": address_in_store(log, store),
                "graph": address_in_store(graph, store),
                "store": store,
                "model": config.model_dump(mode="json"),
                "training": spread(training, cluster).model_dump(mode="json"),
                "role": role,
                "tracking": tracking,
            }

        def make(out: Path) -> Manifest:
            if cluster is None:
                from model.training.run import train

                return train(
                    inputs["log"],
                    inputs["graph"],
                    out,
                    config,
                    training,
                    role,
                    tracking,
                    store=store,
                    code=this.code,
                    publish=this.publish,
                )
            from components.train.submit import train_in_job

            return train_in_job({**order, "key": this.key, "code": this.code}, cluster, out)

        options = {"role": role, "model": config.model_dump(mode="json"), "training": training.deciding()}
        manifest = this.produce(model, entry="model.training.run", inputs=inputs, options=options, make=make)
        log_metrics(metrics, manifest)


def check_role(role: str) -> Role:
    """`role` itself. Raises UserError where it is no role."""
    if role not in {"baseline", "candidate"}:
        raise UserError(f"role {role!r} is unknown; use baseline or candidate")
    return cast("Role", role)
