"""Puts a job together from what was read: store, rows, and an architecture with its initial weights."""

from __future__ import annotations

import numpy as np
import torch

from model.data.dataset import Dataset, Interactions
from model.errors import UserError
from model.graph.macro_graph import MacroGraph
from model.nets.build import build_architecture
from model.nets.config import ModelConfig
from model.nets.node_store import NodeStore
from model.training.config import TrainingConfig
from model.training.loop import Job


def make_job(
    dataset: Dataset,
    graph: MacroGraph | None,
    model: ModelConfig,
    training: TrainingConfig,
    device: torch.device,
    *,
    title: str = "train",
) -> Job:
    """A job on `device`. The initial weights depend on the config and its seed alone, not on the device."""
    store = NodeStore.of(dataset, graph, training.history_rates, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        architecture = build_architecture(model, store.spec).to(device)
    train = trainable(dataset.train, graph)
    return Job(architecture, store, store.rows(train), store.rows(dataset.validate), training, title)


def trainable(train: Interactions, graph: MacroGraph | None) -> Interactions:
    """The training rows that do not find themselves in the graph: all from `trainable_from` on."""
    if graph is None:
        return train
    first = int(np.searchsorted(train.time, graph.trainable_from))
    if first == len(train) and len(train):
        raise UserError(
            f"graph {graph.version} leaves no row to train on: it may be trained on from {graph.trainable_from}, "
            f"the last training row is at {int(train.time[-1])}; lower fit_quantile or use daily snapshots"
        )
    return train.take(slice(first, None))
