"""train(): from log and graph artifacts to a model artifact, going on from the checkpoints of a killed attempt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from safetensors.torch import save_file

from model.artifact.manifest import Manifest, read_manifest
from model.artifact.writer import ArtifactWriter
from model.data.artifact import read_dataset
from model.data.dataset import Dataset
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.macro_graph import MacroGraph
from model.nets.config import ModelConfig
from model.nets.interface import InputSpec
from model.nets.node_store import spec_of
from model.training.assembly import make_job
from model.training.checkpoint import Checkpoints, fingerprint
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport
from model.training.encoding_digest import encoding_digest
from model.training.loop import Surroundings, Weights, fit
from model.training.progress import Watcher, watcher_for
from model.training.tracking import MlflowTracker, NullTracker, Tracker
from model.training.trained import INPUT_SPEC, MODEL, REPORT, SPEC, TRAINING, WEIGHTS, as_json
from model.training.world import World, device_of


@dataclass(frozen=True)
class Inputs:
    """The artifacts of one run, read. graph: None for models that read none."""

    log_manifest: Manifest
    dataset: Dataset
    graph_manifest: Manifest | None
    graph: MacroGraph | None

    @staticmethod
    def read(log: Path, graph: Path | None) -> Inputs:
        """Raises UserError for a folder that is not the artifact it should be, or a graph of another log."""
        log_manifest = _manifest_of(log, "log")
        graph_manifest = None if graph is None else _manifest_of(graph, "macro-graph")
        if graph_manifest is not None and log_manifest.source() not in graph_manifest.made_from:
            raise UserError(f"graph {graph} was not built from log {log} (digest {log_manifest.digest[:12]})")
        return Inputs(log_manifest, read_dataset(log), graph_manifest, None if graph is None else read_graph(graph))


def train(
    log: Path,
    graph: Path | None,
    out: Path,
    model: ModelConfig,
    training: TrainingConfig,
    role: str,
    tracking_uri: str | None = None,
    watcher: Watcher | None = None,
) -> Manifest:
    """Trains `model` on the log and writes the model artifact to `out`.

    role: what the model is for (baseline or candidate); goes into facts and tags. Checkpoints live in
    `.<name of out>.work` beside `out` until the artifact is whole, so that the same call after a kill goes on from there.
    Raises UserError for inputs that do not fit each other, Fault where training cannot go on.
    """
    inputs = Inputs.read(log, graph)
    shown = watcher or watcher_for(Console(stderr=True))
    work = work_folder(out)
    run = run_hash(inputs, model, training)
    tracker = _tracker(inputs, model, training, role, tracking_uri)
    ended = False
    try:
        if training.world_size == 1:
            weights, report = _in_process(
                inputs, model, training, role, Checkpoints(work, run, shown.say), tracker, shown
            )
        else:
            raise UserError("world_size above 1 is not there yet")
        manifest = _write(out, inputs, model, training, role, tracker.run_id, weights, report)
        ended = True
    finally:
        tracker.end(failed=not ended)
    Checkpoints(work, run, shown.say).clear()
    return manifest


def work_folder(out: Path) -> Path:
    """Where the checkpoints of a run that will write `out` live."""
    return out.absolute().parent / f".{out.name}.work"


def run_hash(inputs: Inputs, model: ModelConfig, training: TrainingConfig) -> str:
    """Hash of all that decides the weights."""
    graph = None if inputs.graph_manifest is None else inputs.graph_manifest.digest
    return fingerprint(inputs.log_manifest.digest, graph, model.model_dump(mode="json"), training.deciding())


def _in_process(
    inputs: Inputs,
    model: ModelConfig,
    training: TrainingConfig,
    role: str,
    checkpoints: Checkpoints,
    tracker: Tracker,
    watcher: Watcher,
) -> tuple[Weights, TrainingReport]:
    device = device_of(training)
    job = make_job(inputs.dataset, inputs.graph, model, training, device, f"{role} {model.architecture}")
    return fit(job, Surroundings(World(device=device), checkpoints, tracker, watcher))


def _write(
    out: Path,
    inputs: Inputs,
    model: ModelConfig,
    training: TrainingConfig,
    role: str,
    run_id: str,
    weights: Weights,
    report: TrainingReport,
) -> Manifest:
    sources = [inputs.log_manifest.source()]
    if inputs.graph_manifest is not None:
        sources.append(inputs.graph_manifest.source())
    spec: InputSpec = spec_of(inputs.dataset, inputs.graph, training.history_rates)
    with ArtifactWriter(out, "model", "mgoe train", sources) as writer:
        save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, writer.path / WEIGHTS)
        (writer.path / MODEL).write_text(as_json(model))
        (writer.path / TRAINING).write_text(as_json(training))
        (writer.path / SPEC).write_bytes(INPUT_SPEC.dump_json(spec, indent=2) + b"\n")
        (writer.path / REPORT).write_text(as_json(report))
        writer.facts |= {
            "role": role,
            "architecture": model.architecture,
            "tasks": list(spec.tasks),
            "seed": training.seed,
            "run_id": run_id,
            "data_digest": inputs.log_manifest.digest,
            "encoding_digest": encoding_digest(inputs.dataset),
            "graph_version": "" if inputs.graph is None else inputs.graph.version,
            "best_step": report.best_step,
            "validation_auc": {task: value for task, value in report.best.auc.items() if value is not None},
        }
    return writer.manifest


def _tracker(
    inputs: Inputs, model: ModelConfig, training: TrainingConfig, role: str, tracking_uri: str | None
) -> Tracker:
    if tracking_uri is None:
        return NullTracker()
    tags = {
        "role": role,
        "architecture": model.architecture,
        "data_digest": inputs.log_manifest.digest,
        "graph_version": "" if inputs.graph is None else inputs.graph.version,
        "graph_digest": "" if inputs.graph_manifest is None else inputs.graph_manifest.digest,
    }
    tracker = MlflowTracker(tracking_uri, f"{role} {model.architecture}", tags)
    options = {f"model.{name}": value for name, value in model.model_dump(mode="json").items()}
    options |= {f"training.{name}": value for name, value in training.model_dump(mode="json").items()}
    tracker.params({name: str(value) for name, value in options.items()})
    return tracker


def _manifest_of(folder: Path, kind: str) -> Manifest:
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise UserError(f"artifact {folder} is a {manifest.kind}, not a {kind}")
    return manifest
