"""Component: train one model."""
# ruff: noqa: PLC0415, PLR0917, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Log, MacroGraph, Ranker
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def train(
    log: dsl.Input[Log],
    graph: dsl.Input[MacroGraph],
    model: dsl.Output[Ranker],
    metrics: dsl.Output[dsl.Metrics],
    recipe: str,
    role: str,
    seed: Optional[int] = None,
    tracking: Optional[str] = None,
    store: Optional[str] = None,
    job: Optional[str] = None,
) -> None:
    """Train the recipe's baseline or candidate with early stopping on the validation slice.

    Args:
        log: The encoded log.
        graph: The macro graph.
        model: The trained model.
        metrics: The training's closing numbers.
        recipe: Recipe as YAML text, a shipped name or a path; its models and `training` section are read.
        role: `baseline` or `candidate`: which of the recipe's two models.
        seed: Seed of the training, instead of the recipe's.
        tracking: MLflow URI that receives live metrics; nothing is tracked when absent.
        store: Artifact store (folder or s3://bucket/prefix) to publish to, to reuse from, and for checkpoints.
        job: Options of a RayJob or TrainJob to train in (JobOptions as YAML); in the step's own pod when absent.
    """
    from components.train.work import run

    run(log, graph, model, metrics, recipe=recipe, role=role, seed=seed, tracking=tracking, store=store, job=job)
