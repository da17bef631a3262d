"""train(): from log and graph artifacts to a model artifact, going on from the checkpoints of a killed attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from safetensors.torch import save_file

from model.artifact.manifest import Manifest
from model.artifact.staging import refuse_to_overwrite
from model.artifact.store import open_store
from model.artifact.writer import ArtifactWriter
from model.nets.config import ModelConfig
from model.nets.node_store import spec_of
from model.training.assembly import make_job
from model.training.checkpoint import Checkpoints, fingerprint, separate
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport
from model.training.distributed import Order, train_with_ray
from model.training.encoding_digest import encoders_digest, encoding_digest
from model.training.inputs import Inputs
from model.training.loop import Surroundings, Weights, fit
from model.training.mirror import Mirror
from model.training.progress import Watcher, watcher_for
from model.training.tracking import NullTracker, Tracker, begun
from model.training.trained import INPUT_SPEC, MODEL, REPORT, SPEC, TRAINING, WEIGHTS, as_json
from model.training.world import World, device_of


@dataclass(frozen=True)
class Plan:
    """What is to be trained for what, and where it goes."""

    inputs: Inputs
    model: ModelConfig
    training: TrainingConfig
    role: str
    out: Path
    code: str = ""
    """Version of the code that trains."""

    @property
    def title(self) -> str:
        return f"{self.role} {self.model.architecture}"

    @property
    def graph_version(self) -> str:
        return "" if self.inputs.graph is None else self.inputs.graph.version

    @property
    def run(self) -> str:
        """Hash of all that decides the weights, and the name of the run's checkpoints."""
        graph = None if self.inputs.graph_manifest is None else self.inputs.graph_manifest.digest
        log = self.inputs.log_manifest.digest
        return fingerprint(log, graph, self.model.model_dump(mode="json"), self.training.deciding(), self.code)


def train(  # noqa: PLR0917 - the signature that pipelines call
    log: Path,
    graph: Path | None,
    out: Path,
    model: ModelConfig,
    training: TrainingConfig,
    role: str,
    tracking_uri: str | None = None,
    watcher: Watcher | None = None,
    store: str | None = None,
    *,
    code: str = "",
    publish: Callable[[Path], object] | None = None,
) -> Manifest:
    """Trains `model` on the log and writes the model artifact to `out`.

    role: what the model is for (baseline or candidate); goes into facts and tags. Checkpoints live in
    `.<name of out>.work` beside `out` until the artifact is whole: the same call after a kill goes on from there.
    store: artifact store (folder or s3://bucket/prefix) that they lie in as well, so that another machine can go on.
    code: version of the code; a checkpoint of another one is not gone on from. publish: called with `out` before the
    checkpoints are removed, so that a machine that is lost meanwhile costs no more than one interval.
    graph: left unread where the model has no use for one, so that such a baseline trains on every row.
    Raises UserError for inputs that do not fit each other, Fault where training cannot go on.
    """
    refuse_to_overwrite(out, "model")
    graph = graph if model.reads_graph else None
    plan = Plan(Inputs.verified(log, graph), model, training, role, out, code)
    shown = watcher or watcher_for(Console(stderr=True))
    mirror = None if store is None else Mirror(open_store(store), plan.run, shown.say)
    checkpoints = Checkpoints(work_folder(out), plan.run, shown.say, mirror)
    tracker = begin_tracking(plan, tracking_uri)
    ended = False
    try:
        if training.world_size == 1:
            weights, report = _in_process(plan, checkpoints, tracker, shown)
        else:
            order = Order(
                log=log.absolute(),
                graph=None if graph is None else graph.absolute(),
                work=checkpoints.folder,
                run=plan.run,
                title=plan.title,
                model=model,
                training=training,
                tracking_uri=tracking_uri,
                run_id=tracker.run_id,
                store=store,
            )
            weights, report = train_with_ray(order)
        manifest = write_model(plan, tracker.run_id, weights, report)
        ended = True
    finally:
        tracker.end(failed=not ended)
    if publish is not None:
        publish(out)
    checkpoints.clear()
    return manifest


def work_folder(out: Path) -> Path:
    """Where the checkpoints of a run that will write `out` live."""
    return out.absolute().parent / f".{out.name}.work"


def _in_process(
    plan: Plan, checkpoints: Checkpoints, tracker: Tracker, watcher: Watcher
) -> tuple[Weights, TrainingReport]:
    device = device_of(plan.training)
    job = make_job(plan.inputs.dataset, plan.inputs.graph, plan.model, plan.training, device, title=plan.title)
    return fit(job, Surroundings(World(device=device), checkpoints, tracker, watcher))


def write_model(plan: Plan, run_id: str, weights: Weights, report: TrainingReport) -> Manifest:
    """Writes the model artifact that `plan` is about. run_id: of the MLflow run, or empty."""
    inputs = plan.inputs
    sources = [inputs.log_manifest.source()]
    if inputs.graph_manifest is not None:
        sources.append(inputs.graph_manifest.source())
    spec = spec_of(inputs.dataset, inputs.graph, plan.training.history_rates)
    with ArtifactWriter(plan.out, "model", "mgoe train", sources) as writer:
        save_file(separate(weights), writer.path / WEIGHTS)
        (writer.path / MODEL).write_text(as_json(plan.model))
        (writer.path / TRAINING).write_text(as_json(plan.training))
        (writer.path / SPEC).write_bytes(INPUT_SPEC.dump_json(spec, indent=2) + b"\n")
        (writer.path / REPORT).write_text(as_json(report))
        writer.facts |= {
            "role": plan.role,
            "architecture": plan.model.architecture,
            "tasks": list(spec.tasks),
            "seed": plan.training.seed,
            "run_id": run_id,
            "data_digest": inputs.log_manifest.digest,
            "encoding_digest": encoding_digest(inputs.dataset),
            "encoders_digest": encoders_digest(inputs.log_manifest),
            "graph_version": plan.graph_version,
            "best_step": report.best_step,
            "validation_auc": {task: value for task, value in report.kept.auc.items() if value is not None},
        }
    return writer.manifest


def begin_tracking(plan: Plan, tracking_uri: str | None) -> Tracker:
    """A new MLflow run with the plan's tags and options; nothing is tracked where there is no URI."""
    if tracking_uri is None:
        return NullTracker()
    graph = plan.inputs.graph_manifest
    tags = {
        "role": plan.role,
        "architecture": plan.model.architecture,
        "data_digest": plan.inputs.log_manifest.digest,
        "graph_version": plan.graph_version,
        "graph_digest": "" if graph is None else graph.digest,
    }
    tracker = begun(tracking_uri, plan.title, tags)
    options = {f"model.{name}": value for name, value in plan.model.model_dump(mode="json").items()}
    options |= {f"training.{name}": value for name, value in plan.training.model_dump(mode="json").items()}
    tracker.params({name: str(value) for name, value in options.items()})
    return tracker
