"""Component: check that a bundle serves what was evaluated."""
# ruff: noqa: PLC0415, PLR0917  # kfp ships the source of the function alone

from kfp import dsl

from components.artifacts import Bundle, Evaluation, Log
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def parity(
    bundle: dsl.Input[Bundle],
    log: dsl.Input[Log],
    evaluation: dsl.Input[Evaluation],
    metrics: dsl.Output[dsl.Metrics],
    recipe: str,
    role: str,
) -> None:
    """Score test rows through the bundle as raw requests, and fail where one differs from its evaluation.

    Args:
        bundle: The bundle to check.
        log: The encoded log, whose test rows are asked for.
        evaluation: The same model's evaluation, with a prediction for every test row.
        metrics: How many rows were compared, and their largest difference.
        recipe: Recipe as YAML text, a shipped name or a path; its `bundle` section is read.
        role: `baseline` or `candidate`: which of the recipe's two models this is.
    """
    from components.parity.work import run

    run(bundle, log, evaluation, metrics, recipe=recipe, role=role)
