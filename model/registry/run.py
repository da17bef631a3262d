"""register(): a compared pair of models goes into the registry, unless the candidate breaks the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.artifact.manifest import Kind, Manifest, verify
from model.errors import UserError
from model.evaluation.comparison import Arm, Comparison, read_comparison
from model.registry.alias import move
from model.registry.gate import Gate, GateRefused, refuse_if_broken
from model.registry.mlflow_registry import RUN_ID, MlflowRegistry
from model.registry.model_registry import BUNDLE_DIGEST, BUNDLE_URI, DEFAULT_NAME, MODEL_DIGEST, ModelRegistry, Version


@dataclass(frozen=True)
class Registration:
    """The versions that now carry the aliases `baseline` and `candidate`."""

    baseline: Version
    candidate: Version


@dataclass(frozen=True)
class Packaged:
    """A model's bundle. stored: where servers find it, if not in the folder itself."""

    folder: Path
    stored: str | None = None


def register(  # noqa: PLR0917  three artifacts in the order of the pipeline, then where and how
    baseline: Path,
    candidate: Path,
    comparison: Path,
    tracking_uri: str,
    gate: Gate,
    run: str | None = None,
    *,
    name: str = DEFAULT_NAME,
    packaged: Sequence[Packaged] = (),
) -> Registration:
    """Registers two model artifacts that `comparison` compares, and moves the aliases to them.

    run: name of the pipeline run, kept as a tag. packaged: the bundles of baseline and candidate, kept as tags.
    Registering the same models again gives the versions they have.
    Raises GateRefused when the candidate breaks the gate: of the candidate nothing is registered then, and the baseline
    becomes a version, but the alias stays where it is (at what is live) unless there is none or the gate moves it. A
    version that carries the alias `candidate` and is refused now, by a stricter gate or another comparison, loses it:
    the alias says that the gate was passed when it was asked last.
    Raises UserError when an artifact is broken, or the comparison is of other models.
    """
    compared = _verified(comparison, "comparison")
    found = read_comparison(comparison)
    tags = [
        _tags(_compared_model(folder, arm), arm, found, compared, run)
        for folder, arm in ((baseline, found.baseline), (candidate, found.candidate))
    ]
    for bundle, own in zip(packaged, tags, strict=bool(packaged)):
        own.update(_bundle_tags(bundle, own[MODEL_DIGEST]))
    registry: ModelRegistry = MlflowRegistry(tracking_uri)
    first = registry.register(name, baseline.absolute().as_uri(), tags[0])
    try:
        refuse_if_broken(found, gate)
    except GateRefused as verdict:
        said = f"{_baseline_kept(registry, first, gate)}; {verdict}"
        raise GateRefused(said + _candidate_withdrawn(registry, name, tags[1][MODEL_DIGEST])) from None
    first = move(registry, "baseline", first)
    second = move(registry, "candidate", registry.register(name, candidate.absolute().as_uri(), tags[1]))
    return Registration(registry.get(name, first.number), second)


def _baseline_kept(registry: ModelRegistry, version: Version, gate: Gate) -> str:
    """What became of the baseline of a refused candidate, in words."""
    live = registry.by_alias(version.name, "baseline")
    if live is None or gate.move_baseline == "always":
        live = move(registry, "baseline", version)
    if live.number == version.number:
        return f"baseline registered as version {version}"
    return f"baseline registered as version {version} without an alias (`baseline` stays at version {live})"


def _candidate_withdrawn(registry: ModelRegistry, name: str, digest: str) -> str:
    """What became of the alias where the refused candidate had it, in words."""
    known = registry.by_alias(name, "candidate")
    if known is None or known.digest != digest:
        return ""
    registry.drop_alias(name, "candidate")
    return f"; version {known} loses the alias `candidate`"


def _verified(folder: Path, kind: Kind) -> Manifest:
    manifest = verify(folder)
    if manifest.kind != kind:
        raise UserError(f"{folder} holds a {manifest.kind} artifact, and a {kind} one is wanted here")
    return manifest


def _compared_model(folder: Path, arm: Arm) -> Manifest:
    manifest = _verified(folder, "model")
    if manifest.digest != arm.model_digest:
        raise UserError(
            f"model {folder} ({manifest.digest[:12]}) is not the one that was compared as {arm.name}"
            f" ({arm.model_digest[:12]}); compare these models first"
        )
    return manifest


def _bundle_tags(packaged: Packaged, model_digest: str) -> dict[str, str]:
    manifest = _verified(packaged.folder, "bundle")
    if not any(source.kind == "model" and source.digest == model_digest for source in manifest.made_from):
        raise UserError(
            f"bundle {packaged.folder} ({manifest.digest[:12]}) was not made of model {model_digest[:12]};"
            " package that model first"
        )
    return {BUNDLE_DIGEST: manifest.digest, BUNDLE_URI: packaged.stored or packaged.folder.absolute().as_uri()}


def _tags(manifest: Manifest, arm: Arm, comparison: Comparison, compared: Manifest, run: str | None) -> dict[str, str]:
    """What leads back from a version to everything it was made from; what is not known is left out."""
    graph = next((source.digest for source in manifest.made_from if source.kind == "macro-graph"), "")
    tags = {
        MODEL_DIGEST: manifest.digest,
        RUN_ID: str(manifest.facts.get("run_id", "")),
        "architecture": str(manifest.facts.get("architecture", arm.name)),
        "graph_version": str(manifest.facts.get("graph_version", "")),
        "graph_digest": graph,
        "data_digest": comparison.log_digest,
        "evaluation_digest": arm.evaluation_digest,
        "comparison_digest": compared.digest,
        "pipeline_run": run or "",
    }
    return {tag: value for tag, value in tags.items() if value}
