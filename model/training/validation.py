"""What a model scores on the validation rows: every worker predicts its share, the sum over workers is the whole.

Legend: N rows, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model.nets.activation import InputMoments
from model.nets.interface import Architecture, Batch
from model.nets.node_store import NodeStore, Rows
from model.training.config import TrainingConfig
from model.training.curve import measure
from model.training.prediction import predict_rows
from model.training.world import World


class Validation:
    """The validation rows that are measured: all, or a draw by the seed, in the log's order.

    loss_weights: lambda of every task. fetch: brings what lies on other workers before a batch is scored.
    """

    def __init__(
        self,
        store: NodeStore,
        rows: Rows,
        *,
        config: TrainingConfig,
        loss_weights: list[float],
        world: World,
        fetch: Callable[[Batch], None],
    ) -> None:
        self._store = store
        self._rows = rows
        self._loss_weights = loss_weights
        self._world = world
        self._fetch = fetch
        self._index_N = _drawn(len(rows), config).to(store.device)

    def __len__(self) -> int:
        return len(self._index_N)

    def measure(self, architecture: Architecture) -> tuple[dict[str, float | None], float | None, float]:
        """AUC per task, their mean, and the weighted log loss. Running moments become the same on all workers."""
        share_moments(architecture, self._world)
        probability_NT = self._predicted(architecture)
        return measure(
            self._store.spec.tasks,
            self._loss_weights,
            self._rows.labels_NT[self._index_N].cpu().numpy(),
            self._rows.observed_NT[self._index_N].cpu().numpy(),
            probability_NT.cpu().numpy(),
        )

    def _predicted(self, architecture: Architecture) -> Tensor:
        """[N, T]. All workers score equally many rows, since rows of sharded tables are fetched together."""
        rows, world = len(self._index_N), self._world
        each = -(-rows // world.size)
        own = torch.arange(each, device=self._store.device) * world.size + world.rank
        share = predict_rows(
            architecture, self._store, self._rows, self._index_N[own.clamp(max=rows - 1)], fetch=self._fetch
        )
        whole = torch.zeros(rows, share.shape[1], device=self._store.device)
        whole[own[own < rows]] = share[own < rows]
        return world.sum(whole)


def share_moments(architecture: Architecture, world: World) -> None:
    """Gives every worker the first one's running moments, which are kept with the weights, and the reach of all."""
    for part in architecture.modules():
        if isinstance(part, InputMoments):
            world.largest(part.reach)
    world.as_the_first(architecture.buffers())


def _drawn(n_rows: int, config: TrainingConfig) -> Tensor:
    if config.validation_rows is None or config.validation_rows >= n_rows:
        return torch.arange(n_rows)
    drawn = np.random.default_rng([config.seed, n_rows]).choice(n_rows, config.validation_rows, replace=False)
    return torch.from_numpy(np.sort(drawn))
