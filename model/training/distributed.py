"""Many workers: Ray Train starts them and starts them again after a kill; each runs the same loop on its share.

Checkpoints lie in the run's work folder, which all workers must see: a shared volume where they are on several
machines.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from safetensors.torch import load_file, save_file

from model.artifact.store import open_store
from model.errors import Fault, MgoeError, UserError
from model.nets.config import ModelConfig
from model.training.assembly import make_job
from model.training.checkpoint import Checkpoints, separate
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport
from model.training.inputs import Inputs
from model.training.loop import Surroundings, Weights, fit
from model.training.mirror import Mirror
from model.training.progress import Lines, Silent
from model.training.tracking import NullTracker, Tracker, reopened
from model.training.world import World, device_of

_WEIGHTS = "outcome.safetensors"
_REPORT = "outcome.json"
_FAILURE = "failure.json"


class Order(BaseModel):
    """What a worker is told: JSON, so that nothing but plain data travels to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    log: Path
    graph: Path | None
    work: Path
    run: str
    title: str
    model: ModelConfig
    training: TrainingConfig
    tracking_uri: str | None = None
    run_id: str = ""
    store: str | None = None
    """Where checkpoints lie as well."""


class _Failure(BaseModel):
    """An error of ours inside a worker: starting the workers again would not mend it."""

    kind: Literal["user", "fault"]
    message: str


def train_with_ray(order: Order) -> tuple[Weights, TrainingReport]:
    """Trains on `world_size` Ray workers, on this machine or on the cluster that RAY_ADDRESS names.

    A killed worker makes all of them go on from the last checkpoint, at most `max_failures` times. Raises Fault where
    that is not enough, and whatever error the workers ended with.
    """
    from ray.train import (  # noqa: PLC0415 - seconds, and only for many workers
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

    _forget_outcome(order.work)
    on_gpu = device_of(order.training).type == "cuda"
    with ray_for(order.training):
        trainer = TorchTrainer(
            ray_worker,
            train_loop_config={"order": order.model_dump_json()},
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=order.training.world_size, use_gpu=on_gpu),
            run_config=RunConfig(
                storage_path=str(order.work / "ray"), failure_config=FailureConfig(order.training.max_failures)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            _raise_told(order.work)
            raise Fault(
                f"training stopped: workers failed more than {order.training.max_failures} times "
                f"({_first_line(error)}); the next run goes on from the last checkpoint"
            ) from error
    return collect_outcome(order.work)


def ray_worker(config: dict[str, Any]) -> None:
    """What every Ray worker runs; the process group is up by then.

    An error of ours ends the attempt for all workers, who would otherwise wait for the one that has gone; the attempt
    that Ray starts after it ends at once.
    """
    order = Order.model_validate_json(config["order"])
    if not (order.work / _FAILURE).exists():
        work_in_group(order)


def work_in_group(order: Order) -> None:
    """One rank of an initialised process group: trains, and rank 0 leaves the outcome in the work folder.

    Errors of ours are told in the work folder, then raised.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    order.work.mkdir(parents=True, exist_ok=True)
    (order.work / f"rank-{rank}.pid").write_text(str(os.getpid()))  # which process to look at, or to stop
    try:
        device = _own_device(order.training)
        inputs = Inputs.read(order.log, order.graph)
        job = make_job(inputs.dataset, inputs.graph, order.model, order.training, device, title=order.title)
        watcher = Lines(Console(stderr=True)) if rank == 0 else Silent()
        tracker: Tracker = NullTracker()
        if rank == 0 and order.tracking_uri is not None:
            tracker = reopened(order.tracking_uri, order.run_id)
        mirror = None if order.store is None else Mirror(open_store(order.store), order.run, watcher.say)
        checkpoints = Checkpoints(order.work, order.run, watcher.say, mirror)
        weights, report = fit(job, Surroundings(World(rank, size, device), checkpoints, tracker, watcher))
    except MgoeError as error:
        _tell(order.work, error)
        raise
    if rank == 0:
        _leave(order.work, weights, report)


def _own_device(config: TrainingConfig) -> torch.device:
    device = device_of(config)
    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" else device


@contextmanager
def ray_for(config: TrainingConfig) -> Iterator[None]:
    """A connection to the cluster of RAY_ADDRESS, or a Ray of our own on loopback that ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "RAY_ADDRESS" not in os.environ:
        # Ray listens on every interface whatever it is told. It asks for a token, and this one is known here alone.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray  # noqa: PLC0415

    if ray.is_initialized():
        yield
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        ray.init(
            address="local",
            num_cpus=config.world_size + 1,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            logging_level=logging.WARNING,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _leave(work: Path, weights: Weights, report: TrainingReport) -> None:
    aside = work / f".{_WEIGHTS}"
    save_file(separate(weights), aside)
    aside.rename(work / _WEIGHTS)
    (work / _REPORT).write_text(report.model_dump_json())


def collect_outcome(work: Path) -> tuple[Weights, TrainingReport]:
    """What the workers left. Raises the error that one of them told of, Fault where they left nothing."""
    _raise_told(work)
    try:
        return load_file(work / _WEIGHTS), TrainingReport.model_validate_json((work / _REPORT).read_bytes())
    except FileNotFoundError as error:
        raise Fault(
            f"workers ended without leaving weights in {work}: the folder must be one that all workers see"
        ) from error


def _tell(work: Path, error: MgoeError) -> None:
    work.mkdir(parents=True, exist_ok=True)
    failure = _Failure(kind="user" if isinstance(error, UserError) else "fault", message=str(error))
    (work / _FAILURE).write_text(failure.model_dump_json())


def _raise_told(work: Path) -> None:
    """Raises the error that a worker told of, if one did."""
    path = work / _FAILURE
    if not path.exists():
        return
    failure = _Failure.model_validate_json(path.read_bytes())
    raise UserError(failure.message) if failure.kind == "user" else Fault(failure.message)


def _forget_outcome(work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    for name in (_WEIGHTS, _REPORT, _FAILURE):
        (work / name).unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200]
