"""Component: register both models."""
# ruff: noqa: PLC0415, PLR0917, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import NamedTuple, Optional

from kfp import dsl

from components.artifacts import Bundle, Comparison, Ranker
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def register(
    baseline: dsl.Input[Ranker],
    candidate: dsl.Input[Ranker],
    baseline_bundle: dsl.Input[Bundle],
    candidate_bundle: dsl.Input[Bundle],
    comparison: dsl.Input[Comparison],
    recipe: str,
    registry: str,
    run: Optional[str] = None,
) -> NamedTuple("Versions", [("baseline_version", str), ("candidate_version", str)]):  # type: ignore[valid-type]
    """Register both models under their aliases, unless the candidate breaks the gate.

    Args:
        baseline: The trained baseline.
        candidate: The trained candidate.
        baseline_bundle: The baseline as servers load it.
        candidate_bundle: The candidate as servers load it.
        comparison: Their paired comparison, which the gate reads.
        recipe: Recipe as YAML text, a shipped name or a path; its `gate` section is read.
        registry: MLflow registry URI.
        run: Name of the pipeline run, kept as a tag.

    Returns:
        baseline_version: Version that now carries the alias `baseline`.
        candidate_version: Version that now carries the alias `candidate`.
    """
    from components.register.work import run as register_both

    bundles = baseline_bundle, candidate_bundle
    return register_both(baseline, candidate, bundles, comparison, recipe=recipe, registry=registry, run=run)
