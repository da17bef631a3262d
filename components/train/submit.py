"""Training in a job of its own: the step submits it, waits for it, and brings the model back from the store."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from components.train.cluster_jobs import ClusterJobs, GoneError
from components.train.job import RUN_VARIABLE, JobOptions
from components.train.placement import job_name
from components.train.ray_job import RAY_JOB, ray_job
from components.train.train_job import TRAIN_JOB, train_job
from model.artifact.manifest import Manifest
from model.artifact.store import open_store
from model.errors import Fault

KINDS = {"rayjob": (RAY_JOB, ray_job), "trainjob": (TRAIN_JOB, train_job)}


GRACE_S = 300.0
"""What a job's own deadline is given to take effect, before its step gives up by itself."""


class Cancelled(Fault):
    """The step was told to stop."""


def train_in_job(
    order: Mapping[str, object], options: JobOptions, out: Path, jobs: ClusterJobs | None = None
) -> Manifest:
    """Runs the order in a job and leaves the model artifact in `out`.

    order: fields of model.training.share.SharedTraining. jobs: for tests. Raises UserError and Fault as ClusterJobs
    does; a step that is told to stop takes the job away.
    """
    kind, render = KINDS[options.kind]
    jobs = jobs or ClusterJobs.here(kind)
    key = str(order["key"])
    name = job_name(str(order["role"]), key, os.environ.get(RUN_VARIABLE, ""))
    store = open_store(str(order["store"]))
    with _cancellable():
        try:
            jobs.start(render(name, json.dumps(order, sort_keys=True), options))
            jobs.wait(name, _say, options.deadline_s + GRACE_S)
        except (Cancelled, KeyboardInterrupt):
            jobs.delete(name)
            raise
        except GoneError:
            if not store.exists(key):  # one that has ended is taken away after a while, with its model in the store
                raise
    jobs.delete(name)  # before the model is looked at: where that is damaged, the next attempt trains anew
    return store.get_tree(key, out)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def _cancellable() -> Iterator[None]:
    """SIGTERM, by which Kubernetes ends a pod, becomes Cancelled."""

    def cancel(number: int, frame: FrameType | None) -> None:
        raise Cancelled("told to stop; its job was taken away with the pods")

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
