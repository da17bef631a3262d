"""What the loop eats: batches in an order that is a pure function of seed and epoch, so a position can be resumed.

Legend: N rows, B rows of a batch on this worker, T tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.nets.interface import Batch
from model.nets.node_store import NodeStore, Rows


@dataclass(frozen=True)
class Labelled:
    """One worker's share of a step.

    weight_BT: what a cell's cross-entropy counts: lambda_t * world size / observed cells of task t in the whole step,
    0 where unobserved. Averaged over workers, the sum of weighted losses is then the same number for any world size.
    rows: of the whole step, over all workers.
    """

    batch: Batch
    labels_BT: Tensor
    weight_BT: Tensor
    rows: int


class Feed(Protocol):
    """Batches of one worker. Two calls with the same arguments give the same batches."""

    @property
    def steps_per_epoch(self) -> int: ...

    def epoch(self, epoch: int, first: int) -> Iterator[Labelled]:
        """The steps of an epoch from step `first` (0-based) on."""


def row_order(n_rows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of rows in an epoch: a permutation that depends on the seed and the epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(n_rows)


class MemoryFeed:
    """Rows that are all in the store's memory, gathered by index. Worker `rank` takes every `size`-th row of a step."""

    def __init__(
        self,
        store: NodeStore,
        rows: Rows,
        *,
        batch_size: int,
        seed: int,
        loss_weights_T: Tensor,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self._store = store
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._size = size
        self._weights_T = loss_weights_T.to(store.device) * size

    @property
    def steps_per_epoch(self) -> int:
        """The last, shorter step counts, unless it has fewer rows than there are workers."""
        whole, rest = divmod(len(self._rows), self._batch_size)
        return whole + int(rest >= self._size)

    def epoch(self, epoch: int, first: int) -> Iterator[Labelled]:
        order = torch.from_numpy(row_order(len(self._rows), self._seed, epoch)).to(self._store.device)
        for step in range(first, self.steps_per_epoch):
            yield self._step(order[step * self._batch_size : (step + 1) * self._batch_size])

    def _step(self, all_rows: Tensor) -> Labelled:
        observed_T = self._rows.observed_NT.index_select(0, all_rows).sum(0).clamp_(min=1)
        rows_B = all_rows[self._rank :: self._size]
        labels_BT, observed_BT = self._store.targets(self._rows, rows_B)
        return Labelled(
            batch=self._store.batch(self._rows, rows_B),
            labels_BT=labels_BT,
            weight_BT=observed_BT * (self._weights_T / observed_T),
            rows=len(all_rows),
        )
