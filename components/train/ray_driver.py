"""The driver of a Ray job: `python -m components.train.ray_driver`, as a RayJob of KubeRay runs it on the head."""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
import torch.distributed as dist

from components.train.order import order_from_environment
from model.errors import Fault, MgoeError, UserError
from model.training.distributed import ray_for
from model.training.share import SharedTraining, share
from model.training.world import World, device_of

_TOLD = re.compile(r"model\.errors\.(UserError|Fault): (.+)")


def main() -> int:
    """Trains on the workers of the Ray cluster. Errors are one line."""
    try:
        train_on_ray(order_from_environment())
    except MgoeError as error:
        sys.stderr.write(f"mgoe: {error}\n")
        return error.exit_code
    return 0


def train_on_ray(order: SharedTraining) -> None:
    """Starts `world_size` workers, again after a kill, and waits for them. Raises what they told, Fault otherwise."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError  # noqa: PLC0415  seconds
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

    on_gpu = order.training.device == "cuda"  # the head, where this runs, has no GPU to look for
    with ray_for(order.training):
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"order": order.model_dump_json()},
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=order.training.world_size, use_gpu=on_gpu),
            run_config=RunConfig(failure_config=FailureConfig(order.training.max_failures)),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise _told(error) or Fault(
                f"training stopped: workers failed more than {order.training.max_failures} times"
                f" ({str(error).strip().splitlines()[0][:200]}); the next attempt goes on from the last checkpoint"
            ) from None


def _worker(config: dict[str, Any]) -> None:
    """What every Ray worker runs; the process group is up by then."""
    order = SharedTraining.model_validate_json(config["order"])
    device = device_of(order.training)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    share(order, World(dist.get_rank(), dist.get_world_size(), device))


def _told(error: Exception) -> MgoeError | None:
    """The error of ours that a worker ended with; Ray hands on its text alone."""
    failures = getattr(error, "worker_failures", {})
    for text in [*map(str, failures.values()), str(error)]:
        found = _TOLD.search(text)
        if found is not None:
            return (UserError if found[1] == "UserError" else Fault)(found[2])
    return None


if __name__ == "__main__":
    sys.exit(main())
