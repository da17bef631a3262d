"""Two ways to cut a score into what is computed once per request, once per item, and once per pair.

Legend: N pairs, R requests, n items of the catalogue, T tasks.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from model.nets.factorised import Factorised
from model.nets.interface import Architecture, FeatureBatch, Half, NodeBatch

PART = "part"
"""The one tensor of a factorised part."""


class Form(Protocol):
    """Parts are named tensors whose first dimension is the request, or the item."""

    def user_parts(self, user: NodeBatch, context: FeatureBatch) -> Half:
        """What R requests bring."""

    def item_parts(self, item: NodeBatch) -> Half:
        """What items bring; kept for the whole catalogue."""

    def score(self, users: Half, owner_N: Tensor, items: Half) -> Tensor:
        """Logits [N, T]; owner_N: the request of each pair. items: parts pair by pair."""


class PairedForm:
    """The architecture's own halves and score, as in training."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture

    def user_parts(self, user: NodeBatch, context: FeatureBatch) -> Half:
        multi = {f"context.multi.{place}": codes_RM for place, codes_RM in enumerate(context.multi)}
        features = {"context.sparse": context.sparse_BF, "context.dense": context.dense_BG, **multi}
        return self.architecture.user_half(user) | features

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
    """The factorised form of model.nets.factorised."""

    def __init__(self, architecture: Architecture, factorised: Factorised) -> None:
        self.architecture = architecture
        self.factorised = factorised

    def user_parts(self, user: NodeBatch, context: FeatureBatch) -> Half:
        return {PART: self.factorised.user_part(self.architecture.user_half(user), context)}

    def item_parts(self, item: NodeBatch) -> Half:
        return {PART: self.factorised.item_part(self.architecture.item_half(item))}

    def score(self, users: Half, owner_N: Tensor, items: Half) -> Tensor:
        logit_NT: Tensor = self.factorised(users[PART], owner_N, items[PART])
        return logit_NT
