"""What the gates attend to: mean gate weights over a sample of test rows. Legend: B rows, T gates, E experts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from model.data.dataset import Interactions
from model.nets.gates import Gates
from model.training.prediction import predict_rows
from model.training.trained import TrainedModel


class GateWeights(BaseModel):
    """One gate layer. mean, deviation: [T][E], over the sampled rows; every row of `mean` sums to 1.

    experts: MGOE's are named by the task whose graph they read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str
    gates: tuple[str, ...]
    experts: tuple[str, ...]
    rows: int
    mean: tuple[tuple[float, ...], ...]
    deviation: tuple[tuple[float, ...], ...]


def gate_weights(model: TrainedModel, rows: Interactions, sample: int, seed: int) -> tuple[GateWeights, ...]:
    """Gate weights of every gate layer of the model on `sample` random rows; empty where it has no gates."""
    count = min(sample, len(rows))
    layers = [(name, layer) for name, layer in model.architecture.named_modules() if isinstance(layer, Gates)]
    if not layers or count == 0:
        return ()
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))
    seen: list[list[Tensor]] = [[] for _ in layers]
    hooks = [layer.register_forward_hook(_keep_in(own)) for (_, layer), own in zip(layers, seen, strict=True)]
    try:
        index_N = torch.from_numpy(chosen).to(model.store.device)
        predict_rows(model.architecture, model.store, model.store.rows(rows), index_N)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(_summary(model, name, torch.cat(own)) for (name, _), own in zip(layers, seen, strict=True))


def _keep_in(seen: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
    """A forward hook that keeps what the layer returned."""

    def hook(module: nn.Module, inputs: object, alpha_BTE: Tensor) -> None:
        seen.append(alpha_BTE.detach().double().cpu())

    return hook


def _summary(model: TrainedModel, layer: str, alpha_BTE: Tensor) -> GateWeights:
    rows, gates, experts = alpha_BTE.shape
    tasks = model.store.spec.tasks
    of_graphs = model.model.architecture == "mgoe" and experts == len(tasks)
    return GateWeights(
        layer=layer,
        gates=tasks if gates == len(tasks) else tuple(f"gate {number + 1}" for number in range(gates)),
        experts=tasks if of_graphs else tuple(f"expert {number + 1}" for number in range(experts)),
        rows=rows,
        mean=tuple(tuple(row) for row in alpha_BTE.mean(dim=0).tolist()),
        deviation=tuple(tuple(row) for row in alpha_BTE.std(dim=0, correction=0).tolist()),
    )
