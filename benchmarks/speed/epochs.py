"""Whole epochs: our training loop against torch-rechub's own, and ours by size of the macro graph.

A loop is everything from arrays in memory to updated weights: the order of rows, batches, forward, backward, Adam.
torch-rechub's is its DataGenerator (a DataLoader that collates row by row) and MTLTrainer; the same model is also
stepped on batches that lie ready, so that its loop and its network are told apart. Its networks have the same tables,
experts, gates and towers as ours (ReLU, no batch norm on either side); sizes are asserted equal.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.speed.nets import drop_batch_norm, size
from benchmarks.speed.world import FIELDS, TASKS, VOCABULARY, noise_graph, noise_log
from model.data.dataset import Dataset
from model.nets.config import MODEL_CONFIG
from model.training.assembly import make_job
from model.training.config import TrainingConfig
from model.training.loop import Job, Surroundings, fit

USERS, ITEMS = 20_000, 5_000
BATCH = 1024
EXPERT, TOWER = (64, 32), (32,)

MODELS: dict[str, dict[str, Any]] = {
    "MMoE": {"architecture": "mmoe", "experts": 4, "expert": EXPERT, "tower": TOWER},
    "PLE": {
        "architecture": "ple",
        "levels": 2,
        "task_experts": 2,
        "shared_experts": 2,
        "expert": EXPERT,
        "tower": TOWER,
    },
    "MGOE": {"architecture": "mgoe", "task_emb": "macro"},
}


@dataclass(frozen=True)
class Epoch:
    """Rows a second of both sides; ready: of their network on batches that lie ready."""

    what: str
    ours: float
    theirs: float
    ready: float


@dataclass(frozen=True)
class Fields:
    """Rows as torch-rechub takes them: one int64 column a field. labels_NT: uint8."""

    columns: dict[str, npt.NDArray[np.int64]]
    labels_NT: npt.NDArray[np.uint8]

    def first(self, rows: int) -> Fields:
        return Fields({name: column[:rows] for name, column in self.columns.items()}, self.labels_NT[:rows])


def training(batch: int = BATCH, **more: object) -> TrainingConfig:
    """One epoch with next to no evaluation."""
    options = {"batch_size": batch, "epochs": 1, "evaluate_every": 1.0, "validation_rows": 1, "metric": "log_loss"}
    return TrainingConfig.model_validate({**options, "device": "cpu", "learning_rate": 0.001, **more})


def job_of(name: str, dim: int, groups: int, rows: int, config: TrainingConfig) -> Job:
    """A job on noise. Only MGOE reads the graph."""
    dataset = noise_log(rows, USERS, ITEMS)
    graph = noise_graph(dataset, groups) if name == "MGOE" else None
    options: Mapping[str, Any] = MODELS[name] | {"inputs": {"id_dim": dim, "feature_dim": dim if graph is None else 8}}
    return make_job(dataset, graph, MODEL_CONFIG.validate_python(options), config, torch.device("cpu"))


def rows_per_second(job: Job) -> float:
    """Of one whole fit()."""
    begin = time.perf_counter()
    fit(job, Surroundings())
    return len(job.train) / (time.perf_counter() - begin)


def against_rechub(name: str, dim: int, rows: int) -> Epoch:
    """Our loop and torch-rechub's on the same rows and fields; theirs sees a part of the rows."""
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.models.multi_task.ple import PLE

    job = job_of(name, dim, 0, rows, training())
    columns = fields_as_columns(noise_log(rows, USERS, ITEMS))
    fields = [SparseFeature(field, vocab_size=table_rows(field), embed_dim=dim) for field in columns.columns]
    kinds, expert = ["classification"] * TASKS, {"dims": list(EXPERT), "activation": "relu"}
    towers = [{"dims": list(TOWER), "activation": "relu"} for _ in kinds]
    theirs = MMOE(fields, kinds, 4, expert, towers) if name == "MMoE" else PLE(fields, kinds, 2, 2, 2, expert, towers)
    drop_batch_norm(theirs)
    if size(job.architecture) != size(theirs):
        raise ValueError(f"parameters of {name} differ: {size(job.architecture)} and {size(theirs)}")
    ready = ready_rows_per_second(theirs, columns)
    own = own_loop(theirs, kinds, columns.first(max(2 * BATCH, rows // 4)))
    return Epoch(f"{name}, d={dim}, {size(theirs):,} parameters", rows_per_second(job), own, ready)


def table_rows(field: str) -> int:
    """Rows of a field's table."""
    return {"user": USERS, "item": ITEMS}.get(field, VOCABULARY)


def fields_as_columns(dataset: Dataset) -> Fields:
    """The training rows."""
    rows = dataset.train
    columns = {"user": rows.user.astype(np.int64), "item": rows.item.astype(np.int64)}
    for number in range(FIELDS):
        columns[f"user{number}"] = dataset.users.features.sparse[rows.user, number].astype(np.int64)
        columns[f"item{number}"] = dataset.items.features.sparse[rows.item, number].astype(np.int64)
        columns[f"context{number}"] = rows.context.sparse[:, number].astype(np.int64)
    return Fields(columns, rows.labels)


def own_loop(model: nn.Module, kinds: list[str], rows: Fields) -> float:
    """Rows a second of torch-rechub's loader and trainer."""
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator

    columns, labels = rows.columns, rows.labels_NT
    loaded, _, _ = DataGenerator(columns, labels).generate_dataloader(
        x_val=columns, y_val=labels, x_test=columns, y_test=labels, batch_size=BATCH
    )
    trainer = MTLTrainer(model, kinds, device="cpu")
    begin = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        trainer.train_one_epoch(loaded)
    return len(labels) / (time.perf_counter() - begin)


def ready_rows_per_second(model: nn.Module, fields: Fields) -> float:
    """Forward, loss, backward and Adam of their network on slices of columns."""
    tensors = {name: torch.from_numpy(column) for name, column in fields.columns.items()}
    labels_NT = torch.from_numpy(fields.labels_NT).float()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    steps = len(labels_NT) // BATCH
    begin = time.perf_counter()
    for step in range(steps):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        loss = nn.functional.binary_cross_entropy(
            model({name: column[rows] for name, column in tensors.items()}), labels_NT[rows]
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return steps * BATCH / (time.perf_counter() - begin)


def measure(rows: int = 40_000) -> list[Epoch]:
    """All contests on one thread."""
    torch.set_num_threads(1)
    import_module("torch._dynamo")  # seconds, which the first step of whoever comes first would pay
    return [against_rechub(name, dim, rows) for name in ("MMoE", "PLE") for dim in (16, 64)]


def show(console: Console, epochs: list[Epoch]) -> None:
    table = Table("rows a second", "ours", "torch-rechub's loop", "ratio", "its network alone", "ratio", title="Epochs")
    for one in epochs:
        table.add_row(
            one.what,
            f"{one.ours:,.0f}",
            f"{one.theirs:,.0f}",
            f"[bold]{one.ours / one.theirs:.1f}x[/]",
            f"{one.ready:,.0f}",
            f"{one.ours / one.ready:.1f}x",
        )
    console.print(table)
