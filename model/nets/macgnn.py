"""MacGNN (Chen et al., WWW'24), made multi-task.

`heads` "shared": one network over the macro graph and T outputs. "independent": T networks side by side with tables of
their own, which is one model a task trained in one go.
Legend: B rows, T tasks, S networks, D id width, X plain inputs.
"""

from __future__ import annotations

from torch import Tensor

from model.nets.config import MacGNNConfig
from model.nets.embedding import FeatureEmbedding
from model.nets.id_table import IdReads, id_penalty
from model.nets.interface import Architecture, Batch, FeatureBatch, Half, InputSpec, NodeBatch
from model.nets.macro_side import MacroSide, Streams, concatenated, id_reads, plain_inputs, side_pair
from model.nets.stacked import StackedLinear, StackedMLP


class MacGNN(Architecture):
    """logit = MLP([u; u1; u2; u_recent; i; i1; i2; i_recent; x]). Raises UserError where there is no graph."""

    def __init__(self, spec: InputSpec, config: MacGNNConfig) -> None:
        super().__init__()
        self.spec = spec
        tasks = len(spec.tasks)
        nets = tasks if config.heads == "independent" else 1
        self.user, self.item = side_pair(spec, Streams(experts=nets, ids=nets, tasks=tasks), config, "macgnn")
        self.reads_recents = config.micro
        self.context = FeatureEmbedding(spec.context, config.inputs) if config.plain else None
        width = 0 if self.context is None else self.context.width
        width += sum(s.id_width + s.hop_width + s.micro_width + s.plain_width for s in (self.user, self.item))
        self.mlp = StackedMLP(nets, width, config.widths, config)
        self.logit = StackedLinear(tasks, self.mlp.outputs, 1)

    def user_half(self, user: NodeBatch) -> Half:
        return self.user.half_of(user, self.item)

    def item_half(self, item: NodeBatch) -> Half:
        return self.item.half_of(item, self.user)

    def score(self, user: Half, item: Half, context: FeatureBatch) -> Tensor:
        parts = self._side(user, self.user, item, self.item) + self._side(item, self.item, user, self.user)
        plain = plain_inputs(user, item)
        if self.context is not None:
            plain.append(self.context(context))
        if plain:
            parts.append(concatenated(plain).unsqueeze(1).expand(-1, self.mlp.stack, -1))
        hidden_BSH: Tensor = self.mlp(concatenated(parts))
        logit_BT1: Tensor = self.logit(hidden_BSH.expand(-1, len(self.spec.tasks), -1))
        return logit_BT1.squeeze(-1)

    @staticmethod
    def _side(half: Half, side: MacroSide, other_half: Half, other: MacroSide) -> list[Tensor]:
        """One side's embeddings, in MacGNN's order."""
        hops = side.hops(half, other, other_half)
        before = [half["id_BSD"]] if "id_BSD" in half else []
        return [*before, *hops, *([half["micro_BSP"]] if "micro_BSP" in half else [])]

    def id_reads(self, batch: Batch) -> tuple[IdReads, ...]:
        return id_reads(self.user, self.item, batch)

    def auxiliary_loss(self) -> Tensor | None:
        """Penalty on the id embeddings of the last training pass (inputs.id_l2)."""
        return id_penalty(self)
