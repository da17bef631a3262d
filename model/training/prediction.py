"""Probabilities of a model for given rows. Legend: N rows, T tasks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from model.nets.interface import Architecture, Batch
from model.nets.node_store import NodeStore, Rows


@torch.inference_mode()
def predict_rows(
    architecture: Architecture,
    store: NodeStore,
    rows: Rows,
    index_N: Tensor,
    batch_size: int = 8192,
    *,
    fetch: Callable[[Batch], None] | None = None,
) -> Tensor:
    """Probabilities, float32 [N, T] on the store's device, of rows `index_N` (int64). The mode stays as it was.

    fetch: called with every batch before it is scored (model.training.tables).
    """
    was_training = architecture.training
    architecture.eval()
    parts = []
    for index_B in torch.split(index_N, batch_size):
        batch = store.batch(rows, index_B)
        if fetch is not None:
            fetch(batch)
        parts.append(torch.sigmoid(architecture(batch).float()))
    architecture.train(was_training)
    if not parts or not len(index_N):
        return torch.empty(0, len(store.spec.tasks), device=store.device)
    return torch.cat(parts)
