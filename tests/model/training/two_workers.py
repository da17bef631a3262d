"""A gloo process group of several workers on loopback, without Ray."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from model.training.distributed import Order, work_in_group


def run_group(order: Order, size: int) -> None:
    """Runs `order` on `size` workers; the outcome lies in its work folder."""
    order.work.mkdir(parents=True, exist_ok=True)
    args = (size, order.model_dump_json(), str(order.work / "rendezvous"))
    # Forked: a spawned worker would import torch for ten seconds.
    start_processes(_rank, args=args, nprocs=size, start_method="fork")  # type: ignore[no-untyped-call]


def _rank(rank: int, size: int, order: str, rendezvous: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    try:
        work_in_group(Order.model_validate_json(order))
    finally:
        dist.destroy_process_group()
