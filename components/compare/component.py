"""Component: compare candidate and baseline."""
# ruff: noqa: PLC0415, PLR0917, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Comparison, Evaluation
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def compare(
    baseline: dsl.Input[Evaluation],
    candidate: dsl.Input[Evaluation],
    comparison: dsl.Output[Comparison],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    recipe: str,
    store: Optional[str] = None,
) -> None:
    """Compare two evaluations of the same test rows, paired, task by task, and write the report.

    Args:
        baseline: The baseline's evaluation.
        candidate: The candidate's evaluation.
        comparison: The paired comparison.
        metrics: Lift per task.
        report: One self-contained HTML page.
        recipe: Recipe as YAML text, a shipped name or a path; its `evaluation` section is read.
        store: Artifact store (folder or s3://bucket/prefix) to publish to and to reuse from.
    """
    from components.compare.work import run

    run(baseline, candidate, comparison, metrics, report, recipe=recipe, store=store)
