"""A trained model with the tables that it reads: loaded from its artifact, bound to one encoding and one graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from model.artifact.manifest import Manifest, verify
from model.data.dataset import Dataset, Interactions
from model.errors import UserError
from model.graph.macro_graph import MacroGraph
from model.nets.build import build_architecture
from model.nets.config import MODEL_CONFIG, ModelConfig
from model.nets.interface import Architecture, InputSpec
from model.nets.node_store import NodeStore
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport
from model.training.encoding_digest import encoders_digest, encoding_digest
from model.training.prediction import predict_rows

WEIGHTS = "weights.safetensors"
MODEL = "model.json"
TRAINING = "training.json"
SPEC = "input_spec.json"
REPORT = "report.json"

INPUT_SPEC: TypeAdapter[InputSpec] = TypeAdapter(InputSpec)
Read = TypeVar("Read")


@dataclass(frozen=True)
class TrainedModel:
    """Made by `TrainedModel.load`. architecture is in evaluation mode; report tells how it was trained."""

    architecture: Architecture
    store: NodeStore
    model: ModelConfig
    training: TrainingConfig
    report: TrainingReport
    manifest: Manifest

    @staticmethod
    def load(
        folder: Path, dataset: Dataset, graph: MacroGraph | None, device: torch.device | str = "cpu"
    ) -> TrainedModel:
        """Reads the artifact. graph: None for models trained without one.

        Raises UserError: the artifact is broken, or the graph's version or the dataset's encoding is not the model's.
        """
        manifest = verify(folder)
        if manifest.kind != "model":
            raise UserError(f"artifact {folder} is a {manifest.kind}, not a model")
        check_bound(folder, manifest.facts, dataset, graph)
        model = read_model_config(folder)
        training = _parsed(folder / TRAINING, TypeAdapter(TrainingConfig))
        spec = _parsed(folder / SPEC, INPUT_SPEC)
        store = NodeStore.of(dataset, graph, training.history_rates, device)
        if store.spec != spec:
            raise UserError(
                f"model {folder} was trained on inputs of other sizes than log and graph have: train it anew"
            )
        architecture = build_architecture(model, spec)
        load_weights(architecture, folder / WEIGHTS)
        report = _parsed(folder / REPORT, TypeAdapter(TrainingReport))
        return TrainedModel(architecture.to(store.device).eval(), store, model, training, report, manifest)

    def predict(self, interactions: Interactions, batch_size: int = 8192) -> npt.NDArray[np.float32]:
        """Probabilities, float32 [N, T], row by row."""
        rows = self.store.rows(interactions)
        index_N = torch.arange(len(rows), device=self.store.device)
        probability_NT = predict_rows(self.architecture, self.store, rows, index_N, batch_size)
        return probability_NT.cpu().numpy()


def check_bound(folder: Path, facts: Mapping[str, object], dataset: Dataset, graph: MacroGraph | None) -> None:
    """Raises UserError unless graph version and encoding are those that the model in `folder` was trained with."""
    wanted = facts.get("graph_version") or None
    found = None if graph is None else graph.version
    if wanted != found:
        raise UserError(
            f"model {folder} was trained on {_graph_words(wanted)}, but is given {_graph_words(found)}: "
            "give the graph that it names, or train it anew"
        )
    encoding = encoding_digest(dataset)
    if facts.get("encoding_digest") != encoding:
        raise UserError(
            f"model {folder} was trained on a log with encoding {str(facts.get('encoding_digest'))[:12]}, "
            f"but is given one with encoding {encoding[:12]}: give that log, or train it anew"
        )


def check_encoders(folder: Path, facts: Mapping[str, object], log: Manifest) -> None:
    """Raises UserError unless the log's encoder tables are those that the model in `folder` was trained with."""
    if facts.get("encoders_digest", encoders_digest(log)) != encoders_digest(log):
        raise UserError(
            f"model {folder} was trained on a log whose features are encoded otherwise than those of log "
            f"{log.digest[:12]}: give the log that it was trained on, or train it anew"
        )


def read_model_config(folder: Path) -> ModelConfig:
    """The architecture and its options. Raises UserError where the file is broken."""
    return _parsed(folder / MODEL, MODEL_CONFIG)


def load_weights(architecture: Architecture, path: Path) -> None:
    """Fills the architecture from a safetensors file. Raises UserError where it is broken or of another model."""
    try:
        architecture.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise UserError(f"weights {path} are broken: {error}") from error
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"weights {path} do not fit the architecture {MODEL} names: {first}; if another mgoe made them, train anew"
        ) from error


def _parsed(path: Path, adapter: TypeAdapter[Read]) -> Read:
    try:
        return adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {where} is wrong: {first['msg']}") from error


def _graph_words(version: object) -> str:
    return "no macro graph" if version is None else f"macro graph {version}"


def as_json(value: BaseModel) -> str:
    """Indented JSON with a newline at its end."""
    return value.model_dump_json(indent=2) + "\n"
