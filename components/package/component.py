"""Component: package a model for serving."""
# ruff: noqa: PLC0415, PLR0917, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Bundle, Log, MacroGraph, Ranker
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def package(
    model: dsl.Input[Ranker],
    log: dsl.Input[Log],
    graph: dsl.Input[MacroGraph],
    bundle: dsl.Output[Bundle],
    recipe: str,
    role: str,
    store: Optional[str] = None,
) -> None:
    """Make the bundle that model servers load: weights, tables, encoders, and probes with the trainer's scores.

    Args:
        model: The trained model.
        log: The encoded log.
        graph: The macro graph the model was trained with.
        bundle: All that serving needs, digested file by file.
        recipe: Recipe as YAML text, a shipped name or a path; its `bundle` section is read.
        role: `baseline` or `candidate`: which of the recipe's two models this is.
        store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
    """
    from components.package.work import run

    run(model, log, graph, bundle, recipe=recipe, role=role, store=store)
