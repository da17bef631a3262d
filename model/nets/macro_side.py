"""One side (users or items) of MGOE: ids, plain features, macro tables, micro neighbours and the task table.

Legend: B rows, T tasks, D id width, W width of an id row (T D with task_emb "full", else D), P = 2 D.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import UserError
from model.nets.aggregation import aggregate
from model.nets.config import MGOEConfig
from model.nets.embedding import IdTable, NodeFeatures
from model.nets.interface import FeatureCards, GraphBatch, GraphCards, Half, InputSpec, NodeBatch
from model.nets.macro_experts import MacroNeighbours
from model.nets.macro_table import MacroTable, TaskTable
from model.nets.micro_neighbours import micro_neighbours
from model.nets.stacked import StackedLinear


class MacroSide(nn.Module):
    """Everything that one side owns. Tables are named by the nodes that they hold, whoever reads them."""

    def __init__(
        self, nodes: int, cards: FeatureCards, groups: int, other_groups: int, tasks: int, config: MGOEConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.tasks = tasks
        dim = config.inputs.id_dim
        full = config.task_emb == "full"
        self.id = IdTable(nodes, tasks * dim if full else dim, config.inputs) if config.inputs.ids else None
        if self.id is None and config.attention == "target":
            raise UserError("attention is target but inputs.ids is false: target attention matches against ids")
        self.plain = NodeFeatures(cards, groups, tasks, config.inputs) if config.plain else None
        self.macro = MacroNeighbours(groups, tasks, dim, config.tau, config.mask_zero, config.attention == "target")
        self.micro: StackedLinear | None = None
        """Projects this side's recents, which are nodes of the other side."""
        if config.micro and self.id is not None and config.micro_projection == "own":
            self.micro = StackedLinear(tasks if full else 1, dim, 2 * dim, bias=False)
        self.task_table = TaskTable(other_groups, tasks, dim) if config.table == "hard" else None
        self.soft_table = MacroTable(other_groups, tasks, dim) if config.table == "soft" else None
        self.penalty: Tensor | None = None
        """id_l2 of the last training pass."""
        has_micro = config.micro and self.id is not None
        micro_shared = has_micro and self.micro is not None and not full
        self.id_all = 0 if self.id is None else self.id.embedding_dim
        self.id_shared = 0 if full else self.id_all
        self.plain_width = 0 if self.plain is None else self.plain.width
        self.expert_width = (4 if config.two_hop else 2) * dim + (self.id_all // tasks if full else 0)
        self.shared_width = self.id_shared + (2 * dim if micro_shared else 0)
        self.own_width = 2 * dim if has_micro and not micro_shared else 0

    @classmethod
    def pair(cls, spec: InputSpec, graph: GraphCards, config: MGOEConfig) -> tuple[MacroSide, MacroSide]:
        """The user's and the item's side."""
        tasks = len(spec.tasks)
        user_groups, item_groups = graph.n_user_groups, graph.n_item_groups
        return (
            cls(spec.n_users, spec.user, user_groups, item_groups, tasks, config),
            cls(spec.n_items, spec.item, item_groups, user_groups, tasks, config),
        )

    def own_inputs(self, node: NodeBatch, graph: GraphBatch, other: MacroSide) -> Half:
        """The part of the half that needs no expert: ids, plain features, micro neighbours, task table."""
        half: Half = {}
        if self.id is not None:
            id_BW: Tensor = self.id(node.id_B)
            half["id_BW"] = id_BW
            if self.config.task_emb == "full":
                half["id_BTD"] = id_BW.view(id_BW.shape[0], self.tasks, -1)
            else:
                half["id_shared_BD"] = id_BW
            weight = self.config.inputs.id_l2
            self.penalty = id_BW.square().sum(-1).mean() * weight if self.training and weight > 0 else None
        if self.plain is not None:
            half["plain_BX"] = self.plain(node)
        half |= self._micro(graph, other)
        if self.task_table is not None:
            half["table_BTD"] = self.task_table(graph.dominant_BT)
        if self.soft_table is not None:
            half["table_BTD"] = aggregate(other.macro.weights(graph.hop1), self.soft_table.weight_NTD)
        return half

    def _micro(self, graph: GraphBatch, other: MacroSide) -> Half:
        if not self.config.micro or other.id is None:
            return {}
        mean_BW = micro_neighbours(graph, other.id, self.config.micro_weight)
        if self.micro is not None and self.config.task_emb == "macro":
            return {"micro_BP": F.linear(mean_BW, self.micro.weight_SOI[0])}
        mean_BTD = mean_BW.view(mean_BW.shape[0], -1, self.config.inputs.id_dim).expand(-1, self.tasks, -1)
        project = other.macro.project if self.micro is None else self.micro
        return {"micro_BTP": project(mean_BTD)}
