"""One worker under torchrun: `torchrun --module components.train.torch_rank`, as a TrainJob of Kubeflow runs it."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist

from components.train.order import order_from_environment
from model.errors import MgoeError
from model.training.share import share
from model.training.world import World, device_of


def main() -> int:
    """Joins the group that torchrun's environment describes and does its share. Errors are one line."""
    try:
        order = order_from_environment()
        device = device_of(order.training)
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            share(order, World(dist.get_rank(), dist.get_world_size(), device))
        finally:
            dist.destroy_process_group()
    except MgoeError as error:
        sys.stderr.write(f"mgoe: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
