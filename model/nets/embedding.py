"""The bundle of embeddings that turns ids and features of one owner (user, item, context) into vectors.

Legend: B rows, D width, F sparse features, G numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.errors import UserError
from model.nets.config import InputOptions
from model.nets.id_table import IdRows, IdTable
from model.nets.interface import FeatureBatch, FeatureCards, GraphBatch, NodeBatch
from model.nets.numeric import Numbers


def graph_of(node: NodeBatch) -> GraphBatch:
    """The graph's view of the nodes. Raises UserError where the batch was made without a graph."""
    if node.graph is None:
        raise UserError("the batch has no macro graph, but the model reads one: give the graph that it was trained on")
    return node.graph


class FeatureEmbedding(nn.Module):
    """Sparse, multi-valued and dense features of one owner side by side: FeatureBatch -> [B, width].

    All sparse features share one table with offsets: one look-up instead of F.
    """

    offset_F: Tensor

    def __init__(self, cards: FeatureCards, options: InputOptions, extra_dense: int = 0) -> None:
        super().__init__()
        dim = options.feature_dim
        offset = torch.tensor([0, *cards.sparse[:-1]], dtype=torch.int64).cumsum(0)[: len(cards.sparse)]
        self.register_buffer("offset_F", offset, persistent=False)
        self.sparse = nn.Embedding(sum(cards.sparse), dim) if cards.sparse else None
        self.multi = nn.ModuleList(nn.EmbeddingBag(n, dim, mode="mean", padding_idx=0) for n in cards.multi)
        self.numbers = Numbers(cards.dense + extra_dense, options)
        self.leave_out = nn.Dropout1d(options.feature_dropout)
        self.width = dim * (len(cards.sparse) + len(cards.multi)) + self.numbers.width
        for table in (self.sparse, *self.multi):
            if table is not None:
                nn.init.normal_(table.weight, std=0.05)

    def forward(self, features: FeatureBatch, extra_BG: Tensor | None = None) -> Tensor:
        """extra_BG: further numbers that do not come from the log (degrees)."""
        parts: list[Tensor] = []
        if self.sparse is not None:
            parts.append(self.leave_out(self.sparse(features.sparse_BF + self.offset_F)).flatten(1))
        for table, codes_BM in zip(self.multi, features.multi, strict=True):
            parts.append(self.leave_out(table(codes_BM).unsqueeze(1)).squeeze(1))
        dense_BG = features.dense_BG if extra_BG is None else torch.cat([features.dense_BG, extra_BG], dim=1)
        parts.append(self.numbers(dense_BG))
        return torch.cat(parts, dim=1)


class NodeFeatures(nn.Module):
    """All plain inputs of a user or an item but its id: features, and where asked for what the graph says of the node.

    groups: macro groups of the node's own side, None without a graph. tasks: log-degrees come per task. means: columns
    of the graph's neighbour means.
    """

    def __init__(
        self, cards: FeatureCards, groups: int | None, tasks: int, options: InputOptions, *, means: int = 0
    ) -> None:
        super().__init__()
        if options.neighbour_means and not means:
            raise UserError(
                "inputs.neighbour_means is true but the macro graph holds none: build it with neighbour_means"
            )
        self.degrees = options.degrees
        self.means = options.neighbour_means
        extra = (tasks + 1 if self.degrees else 0) + (means if self.means else 0)
        self.features = FeatureEmbedding(cards, options, extra_dense=extra)
        self.group = nn.Embedding(groups + 1, options.feature_dim) if options.groups and groups is not None else None
        self.width = self.features.width + (0 if self.group is None else options.feature_dim)
        if self.group is not None:
            nn.init.normal_(self.group.weight, std=0.05)

    def forward(self, node: NodeBatch) -> Tensor:
        """[B, width]."""
        if not self.degrees and not self.means and self.group is None:
            return self.features(node.features)  # type: ignore[no-any-return]
        graph = graph_of(node)
        x_BX: Tensor = self.features(node.features, self._numbers_of(graph))
        return x_BX if self.group is None else torch.cat([x_BX, self.group(graph.group_B)], dim=1)

    def _numbers_of(self, graph: GraphBatch) -> Tensor | None:
        parts = [graph.log_degree_BT, graph.log_exposure_B.unsqueeze(1)] if self.degrees else []
        if self.means and graph.neighbour_mean_BC is not None:
            parts.append(graph.neighbour_mean_BC)
        return torch.cat(parts, dim=1) if parts else None


class NodeEmbedding(nn.Module):
    """Id and plain inputs of a user or an item: NodeBatch -> [B, width]."""

    def __init__(
        self, nodes: int, cards: FeatureCards, groups: int | None, tasks: int, options: InputOptions, *, means: int = 0
    ) -> None:
        super().__init__()
        self.id: IdRows | None = IdTable(nodes, options.id_dim, options) if options.ids else None
        self.plain = NodeFeatures(cards, groups, tasks, options, means=means)
        self.width = self.plain.width + (0 if self.id is None else options.id_dim)

    def forward(self, node: NodeBatch) -> Tensor:
        plain_BX: Tensor = self.plain(node)
        if self.id is None:
            return plain_BX
        return torch.cat([self.id.look_up(node.id_B), plain_BX], dim=1)
