"""One worker's share of a training that a cluster started: all that it needs comes from a store, and goes there.

The workers see no common folder: each pod brings log and graph, the first worker's checkpoints lie in the store, and it
leaves the model artifact there.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from model.artifact.manifest import MANIFEST_NAME, Kind, verify
from model.artifact.store import open_store
from model.errors import UserError
from model.nets.config import ModelConfig
from model.training.assembly import make_job
from model.training.checkpoint import Checkpoints, fingerprint
from model.training.config import TrainingConfig
from model.training.inputs import Inputs
from model.training.loop import Surroundings, fit
from model.training.mirror import Mirror
from model.training.progress import Lines, Silent, Watcher
from model.training.run import Plan, begin_tracking, write_model
from model.training.tracking import NullTracker, Tracker
from model.training.world import World


class SharedTraining(BaseModel):
    """What every worker is told: JSON, so that nothing but plain data travels to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log: str
    """Address of the log artifact: a store's, and the key in it."""
    graph: str | None
    store: str
    """Artifact store for checkpoints and for the model."""
    key: str
    """Where in it the model goes."""
    code: str = ""
    """Version of the code that gave the order: a checkpoint of another one is not gone on from."""
    model: ModelConfig
    training: TrainingConfig
    role: str
    tracking: str | None = None


def share(training: SharedTraining, world: World) -> None:
    """Trains as one of `world`'s workers; the first one puts the model artifact into the store.

    Raises UserError for inputs that do not fit each other, Fault where training cannot go on.
    """
    pod = Path(tempfile.gettempdir()) / f"mgoe-training-{fingerprint(training.model_dump(mode='json'))[:16]}"
    pod.mkdir(parents=True, exist_ok=True)
    own = pod / f"rank-{world.rank}"
    shutil.rmtree(own, ignore_errors=True)  # of an attempt before: all workers go on from what the store holds
    log = _brought(training.log, pod, "log")
    graph = None
    if training.graph is not None and training.model.reads_graph:
        graph = _brought(training.graph, pod, "macro-graph")
    inputs = Inputs.read(log, graph)
    plan = Plan(inputs, training.model, training.training, training.role, own / "model", training.code)
    watcher: Watcher = Lines(Console(stderr=True)) if world.rank == 0 else Silent()
    mirror = Mirror(open_store(training.store), plan.run, watcher.say)
    checkpoints = Checkpoints(own / "checkpoints", plan.run, watcher.say, mirror)
    tracker: Tracker = begin_tracking(plan, training.tracking) if world.rank == 0 else NullTracker()
    ended = False
    try:
        job = make_job(inputs.dataset, inputs.graph, plan.model, plan.training, world.device, title=plan.title)
        weights, report = fit(job, Surroundings(world, checkpoints, tracker, watcher))
        if world.rank == 0:
            write_model(plan, tracker.run_id, weights, report)
            open_store(training.store).put_tree(plan.out, training.key)
            checkpoints.clear()
        ended = True
    finally:
        tracker.end(failed=not ended)
    world.wait()


def _brought(address: str, pod: Path, kind: Kind) -> Path:
    """The artifact at `address` in a folder of this pod, fetched by whichever of its workers comes first."""
    folder = pod / kind
    with _alone(pod / f".{kind}.lock"):
        if (folder / MANIFEST_NAME).is_file():
            found = verify(folder)
        else:
            root, _, key = address.rpartition("/")
            if not root or not (urlsplit(root).netloc or Path(root).is_absolute()):
                raise UserError(f"{kind} {address!r} is no address in a store, such as s3://bucket/prefix/key")
            found = open_store(root).get_tree(key, folder)
    if found.kind != kind:
        raise UserError(f"{address} holds a {found.kind} artifact; this needs one of kind {kind}")
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
