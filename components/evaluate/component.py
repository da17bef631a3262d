"""Component: evaluate one model."""
# ruff: noqa: PLC0415, PLR0917, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Evaluation, Log, MacroGraph, Ranker
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def evaluate(
    model: dsl.Input[Ranker],
    log: dsl.Input[Log],
    graph: dsl.Input[MacroGraph],
    evaluation: dsl.Output[Evaluation],
    metrics: dsl.Output[dsl.Metrics],
    recipe: str,
    role: str,
    store: Optional[str] = None,
) -> None:
    """Score the test slice with one model and measure it per task and slice, with intervals.

    Args:
        model: The trained model.
        log: The encoded log.
        graph: The macro graph the model was trained with.
        evaluation: Metrics and the predictions they come from.
        metrics: AUC, GAUC and log loss per task.
        recipe: Recipe as YAML text, a shipped name or a path; its `evaluation` section is read.
        role: `baseline` or `candidate`: which of the recipe's two models this is.
        store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
    """
    from components.evaluate.work import run

    run(model, log, graph, evaluation, metrics, recipe=recipe, role=role, store=store)
