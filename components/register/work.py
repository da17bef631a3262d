"""The register step: both models and their comparison in, versions with aliases out; the gate decides."""
# ruff: noqa: PLC0415  # mlflow takes seconds to load

from __future__ import annotations

from typing import Any, NamedTuple

from components.artifacts import folder_of
from components.step import STORED, step
from model.recipe import load_recipe


class Versions(NamedTuple):
    """Registry versions that now carry the aliases."""

    baseline_version: str
    candidate_version: str


def run(
    baseline: Any,
    candidate: Any,
    bundles: tuple[Any, Any],
    comparison: Any,
    *,
    recipe: str,
    registry: str,
    run: str | None,
) -> Versions:
    """`baseline` to `comparison` are kfp artifacts; the arguments are the component's.

    Never reused: registering the same models again is the registry's business, and it gives the versions they have.
    A refusal by the gate (exit code 3) says what became of the baseline.
    """
    with step("register") as this:
        from model.registry.address import check_address
        from model.registry.run import Packaged, register

        check_address(registry)
        models = folder_of(baseline, "model"), folder_of(candidate, "model")
        gate = load_recipe(recipe).gate
        packaged = tuple(Packaged(folder_of(bundle, "bundle"), bundle.metadata.get(STORED)) for bundle in bundles)
        compared = folder_of(comparison, "comparison")
        versions = register(*models, compared, registry, gate, run, packaged=packaged)
        this.notes.append(f"baseline {versions.baseline}, candidate {versions.candidate}")
        return Versions(str(versions.baseline), str(versions.candidate))
