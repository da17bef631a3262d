"""A gloo process group of several workers on loopback, without Ray."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from model.training.distributed import Order, work_in_group
from model.training.progress import Silent


class StoppedError(Exception):
    """Stands for a kill of all workers."""


def run_group(order: Order, size: int, stop_at: int | None = None) -> None:
    """Runs `order` on `size` workers; the outcome lies in its work folder. stop_at: step at which all of them end."""
    order.work.mkdir(parents=True, exist_ok=True)
    args = (size, order.model_dump_json(), str(order.work / f"rendezvous-{size}-{stop_at}"), stop_at)
    # Forked: a spawned worker would import torch for ten seconds.
    start_processes(_rank, args=args, nprocs=size, start_method="fork")  # type: ignore[no-untyped-call]


def _rank(rank: int, size: int, order: str, rendezvous: str, stop_at: int | None) -> None:
    def stepped(_: Silent, step: int, loss: float | None, rows_per_second: float) -> None:
        if step == stop_at:
            raise StoppedError

    Silent.stepped = stepped  # type: ignore[method-assign, assignment]
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    try:
        work_in_group(Order.model_validate_json(order))
    finally:
        dist.destroy_process_group()
