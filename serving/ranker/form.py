"""Two ways to cut a score into what is computed once per request, once per item, and once per pair.

Legend: N pairs, R requests, n items of the catalogue, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from model.nets.factorised import Factorised
from model.nets.interface import Architecture, FeatureBatch, Half, NodeBatch
from model.nets.node_store import NodeStore

PART = "part"
"""The one tensor of a factorised part."""

UserPart = Callable[[Tensor, FeatureBatch], Tensor]
"""From node indices user_R and contexts to [R, P]."""


class Form(Protocol):
    """Parts are named tensors whose first dimension is the request, or the item."""

    def user_parts(self, user_R: Tensor, context: FeatureBatch) -> Half:
        """What R requests bring; user_R: node indices."""

    def item_parts(self, item: NodeBatch) -> Half:
        """What items bring; kept for the whole catalogue."""

    def score(self, users: Half, owner_N: Tensor, items: Half) -> Tensor:
        """Logits [N, T]; owner_N: the request of each pair. items: parts pair by pair."""


class PairedForm:
    """The architecture's own halves and score, as in training."""

    def __init__(self, architecture: Architecture, store: NodeStore) -> None:
        self.architecture = architecture
        self.store = store

    def user_parts(self, user_R: Tensor, context: FeatureBatch) -> Half:
        multi = {f"context.multi.{place}": codes_RM for place, codes_RM in enumerate(context.multi)}
        features = {"context.sparse": context.sparse_BF, "context.dense": context.dense_BG, **multi}
        return user_half(self.architecture, self.store, user_R) | features

    def item_parts(self, item: NodeBatch) -> Half:
        return self.architecture.item_half(item)

    def score(self, users: Half, owner_N: Tensor, items: Half) -> Tensor:
        rows = {name: part.index_select(0, owner_N) for name, part in users.items()}
        multi = sorted(name for name in rows if name.startswith("context.multi."))
        context = FeatureBatch(
            rows["context.sparse"], rows["context.dense"], tuple(rows[f"context.multi.{i}"] for i in range(len(multi)))
        )
        return self.architecture.score(rows, items, context)


class FactorisedForm:
    """The factorised form of model.nets.factorised. user_part: a quicker way to the same; None: eager torch."""

    def __init__(
        self, architecture: Architecture, store: NodeStore, factorised: Factorised, user_part: UserPart | None = None
    ) -> None:
        self.architecture = architecture
        self.store = store
        self.factorised = factorised
        self.user_part = user_part or self.eager_user_part

    def eager_user_part(self, user_R: Tensor, context: FeatureBatch) -> Tensor:
        return self.factorised.user_part(user_half(self.architecture, self.store, user_R), context)

    def user_parts(self, user_R: Tensor, context: FeatureBatch) -> Half:
        return {PART: self.user_part(user_R, context)}

    def item_parts(self, item: NodeBatch) -> Half:
        return {PART: self.factorised.item_part(self.architecture.item_half(item))}

    def score(self, users: Half, owner_N: Tensor, items: Half) -> Tensor:
        logit_NT: Tensor = self.factorised(users[PART], owner_N, items[PART])
        return logit_NT


def user_half(architecture: Architecture, store: NodeStore, user_R: Tensor) -> Half:
    """The users' halves; a bundle's tables are of one moment, which any time reads."""
    return architecture.user_half(store.users(user_R, torch.zeros_like(user_R)))
