"""What the architectures without a graph of their own have in common: one vector of all inputs, then a net.

Legend: B rows, T tasks, X width of all inputs.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from model.errors import UserError
from model.nets.config import InputOptions
from model.nets.embedding import FeatureEmbedding, NodeEmbedding
from model.nets.id_table import IdReads, id_penalty
from model.nets.interface import Architecture, Batch, FeatureBatch, Half, InputSpec, NodeBatch


def require_graph(spec: InputSpec, options: InputOptions) -> None:
    """Raises UserError where inputs ask for what only a graph can give."""
    for name in ("degrees", "neighbour_means", "groups"):
        if getattr(options, name) and spec.graph is None:
            raise UserError(
                f"inputs.{name} is true but no macro graph was given: give one with --graph "
                f"(make it with `mgoe graph build`), or set inputs.{name} to false"
            )


class PlainArchitecture(Architecture):
    """A half is the side's input vector; subclasses map the joined vector [B, X] to logits [B, T]."""

    def __init__(self, spec: InputSpec, options: InputOptions) -> None:
        super().__init__()
        require_graph(spec, options)
        self.spec = spec
        tasks, graph = len(spec.tasks), spec.graph
        user_groups, item_groups = (graph.n_user_groups, graph.n_item_groups) if graph else (None, None)
        means = graph.means if graph else 0
        self.user = NodeEmbedding(spec.n_users, spec.user, user_groups, tasks, options, means=means)
        self.item = NodeEmbedding(spec.n_items, spec.item, item_groups, tasks, options, means=means)
        self.context = FeatureEmbedding(spec.context, options)
        self.width = self.user.width + self.item.width + self.context.width
        if self.width == 0:
            raise UserError("the model has no inputs: inputs.ids is false and the log has no features")

    def user_half(self, user: NodeBatch) -> Half:
        return {"x_BX": self.user(user)}

    def item_half(self, item: NodeBatch) -> Half:
        return {"x_BX": self.item(item)}

    def score(self, user: Half, item: Half, context: FeatureBatch) -> Tensor:
        return self.logits(self.joined(user, item, context))

    def joined(self, user: Half, item: Half, context: FeatureBatch) -> Tensor:
        """All inputs side by side: [B, X]."""
        return torch.cat([user["x_BX"], item["x_BX"], self.context(context)], dim=1)

    @abstractmethod
    def logits(self, x_BX: Tensor) -> Tensor:
        """[B, X] -> [B, T]."""

    def id_reads(self, batch: Batch) -> tuple[IdReads, ...]:
        pairs = ((self.user.id, batch.user.id_B), (self.item.id, batch.item.id_B))
        return tuple(IdReads(table, id_B) for table, id_B in pairs if table is not None)

    def auxiliary_loss(self) -> Tensor | None:
        """Penalty on the id embeddings of the last training pass (inputs.id_l2)."""
        return id_penalty(self)
