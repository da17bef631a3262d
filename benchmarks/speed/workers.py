"""Our training loop by size, and on two workers: rows a second of each, and what a worker keeps of one's speed.

Workers are processes of one thread on this machine, joined by gloo over loopback. Each has BATCH rows of a step, so
that two have twice as many (weak scaling). With sharded tables, large id tables lie column-wise on both (TorchRec).
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch.multiprocessing.spawn import start_processes

from benchmarks.speed.epochs import BATCH, job_of, training
from model.training.loop import Surroundings, fit
from model.training.world import World

SIZES = (("MMoE", 16, 0), ("MMoE", 64, 0), *(("MGOE", dim, groups) for dim in (16, 64) for groups in (20, 200, 1000)))
SPARSE = {"sparse_optimiser": "rowwise_adagrad", "sparse_from_rows": 1000}
TABLES: dict[str, dict[str, object]] = {
    "dense Adam": {},
    "row-wise Adagrad": SPARSE,
    "row-wise Adagrad, sharded": SPARSE | {"table_sharding": "column_wise"},
}
"""Optimiser of the id tables -> training options."""


@dataclass(frozen=True)
class Case:
    """rows: of a worker, over one epoch. options: of training."""

    name: str
    dim: int
    groups: int
    rows: int
    options: dict[str, object]


@dataclass(frozen=True)
class Scaling:
    """Rows a second on one worker and on two."""

    what: str
    tables: str
    one: float
    two: float

    @property
    def efficiency(self) -> float:
        return self.two / (2 * self.one)


def on_workers(size: int, case: Case) -> float:
    """Rows a second of `size` workers over one epoch, evaluation not counted."""
    # Once here instead of in every worker's first step: torch's optimisers import the first at their first use.
    for name in ("torch._dynamo", *(["torchrec"] if case.options.get("table_sharding") else [])):
        import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        args = (size, case, folder)
        start_processes(_worker, args=args, nprocs=size, start_method="fork")  # type: ignore[no-untyped-call]
        return float((Path(folder) / "rate").read_text())


def _worker(rank: int, size: int, case: Case, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    try:
        job = job_of(case.name, case.dim, case.groups, case.rows * size, training(BATCH * size, **case.options))
        _, report = fit(job, Surroundings(World(rank, size)))
    finally:
        dist.destroy_process_group()
    if rank == 0:
        (Path(folder) / "rate").write_text(str(report.curve[-1].rows_per_second))


def measure(rows: int = 20_000) -> list[Scaling]:
    """All sizes with dense Adam; one of each model with sparse and with sharded tables."""
    found = []
    for name, dim, groups in SIZES:
        what = f"{name}, d={dim}" + (f", K={groups}" if groups else "")
        tables = TABLES if (dim, groups) in {(64, 0), (64, 200)} else {"dense Adam": {}}
        for kind, options in tables.items():
            if options.get("table_sharding") and find_spec("torchrec") is None:
                continue
            case = Case(name, dim, groups, rows, options)
            one, two = [on_workers(size, case) for size in (1, 2)]
            found.append(Scaling(what, kind, one, two))
    return found


def show(console: Console, scalings: list[Scaling]) -> None:
    table = Table("rows a second", "id tables", "one worker", "two workers", "efficiency", title="Our loop")
    for one in scalings:
        table.add_row(one.what, one.tables, f"{one.one:,.0f}", f"{one.two:,.0f}", f"{one.efficiency:.2f}")
    console.print(table)
