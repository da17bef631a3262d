"""What scores pairs, and the eager one. Legend: N pairs, R requests, n items of the catalogue, T tasks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from model.nets.interface import Half
from model.nets.node_store import NodeStore
from serving.ranker.form import Form
from serving.ranker.item_table import item_nodes_parts
from serving.ranker.settings import ScorerName


class Scorer(Protocol):
    """Safe to call from several threads."""

    @property
    def name(self) -> ScorerName: ...

    @property
    def form(self) -> Form:
        """Makes the users' parts that it reads."""

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        """Logits [N, T]. users: the requests' parts. owner_N: int64, the request of each pair. item_N: int64 node."""


class EagerScorer:
    """Runs a form in eager torch: the reference (`eager`, paired) or the factorised form (`factorised`)."""

    def __init__(self, name: ScorerName, form: Form, items: Half) -> None:
        self.name: ScorerName = name
        self.form = form
        self._items = items

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        return self.form.score(
            users, owner_N, {name: part.index_select(0, item_N) for name, part in self._items.items()}
        )


class TablelessScorer:
    """As EagerScorer, for a catalogue whose table would be too large: items' parts are computed in every call."""

    def __init__(self, name: ScorerName, form: Form, store: NodeStore) -> None:
        self.name: ScorerName = name
        self.form = form
        self._store = store

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        return self.form.score(users, owner_N, item_nodes_parts(self.form, self._store, item_N))


def score_in_blocks(scorer: Scorer, users: Half, owner_N: Tensor, item_N: Tensor, block: int) -> Tensor:
    """Logits [N, T], `block` pairs at a time: what a block reads and writes stays in the processor's cache."""
    if len(item_N) <= block:
        return scorer.score(users, owner_N, item_N)
    # Blocks of equal size, so that none is left over with a few rows.
    count = -(-len(item_N) // block)
    size = -(-len(item_N) // count)
    parts = zip(torch.split(owner_N, size), torch.split(item_N, size), strict=True)
    return torch.cat([scorer.score(users, owner, item) for owner, item in parts])
