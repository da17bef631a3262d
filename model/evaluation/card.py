"""What a report tells of a model beside its metrics: how it was trained, what graph it read, where it comes from."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from model.artifact.manifest import Manifest
from model.errors import Fault
from model.evaluation.gate_weights import GateWeights
from model.graph.macro_graph import MacroGraph
from model.training.curve import TrainingReport
from model.training.trained import TrainedModel

CARD_NAME = "card.json"
_PACKAGES = ("mgoe", "numpy", "torch")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupSizes(_Strict):
    """Nodes per macro node, group 0 (cold and padding) first."""

    users: tuple[int, ...]
    items: tuple[int, ...]


class Lineage(_Strict):
    """Digests and versions that lead back to everything an evaluation was made from. None: there was no graph."""

    model_digest: str
    log_digest: str
    graph_digest: str | None
    graph_version: str | None
    run_id: str
    versions: dict[str, str]


class ModelCard(_Strict):
    """One model of a report. options, training: its configuration. groups: None where the model reads no graph."""

    role: str
    architecture: str
    options: dict[str, Any]
    training: dict[str, Any]
    report: TrainingReport
    groups: GroupSizes | None
    gates: tuple[GateWeights, ...]
    lineage: Lineage


def card_of(
    model: TrainedModel,
    graph: MacroGraph | None,
    gates: tuple[GateWeights, ...],
    log_manifest: Manifest,
    graph_manifest: Manifest | None,
) -> ModelCard:
    """The card of a trained model; graph, graph_manifest: None where it reads no graph."""
    facts = model.manifest.facts
    return ModelCard(
        role=str(facts.get("role", "")),
        architecture=model.model.architecture,
        options=model.model.model_dump(mode="json"),
        training=model.training.model_dump(mode="json"),
        report=model.report,
        groups=None if graph is None else GroupSizes(users=_sizes(graph.user_group), items=_sizes(graph.item_group)),
        gates=gates,
        lineage=Lineage(
            model_digest=model.manifest.digest,
            log_digest=log_manifest.digest,
            graph_digest=None if graph_manifest is None else graph_manifest.digest,
            graph_version=None if graph is None else graph.version,
            run_id=str(facts.get("run_id", "")),
            versions={"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        ),
    )


def read_card(folder: Path) -> ModelCard:
    """The card of an evaluation artifact. Raises Fault where it is missing or malformed."""
    path = folder / CARD_NAME
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise Fault(f"model card {path} cannot be read: {str(error).splitlines()[0]}") from error


def _sizes(group_n: npt.NDArray[np.int32]) -> tuple[int, ...]:
    return tuple(np.bincount(group_n[1:]).tolist())  # node 0 stands for whatever is unknown


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
