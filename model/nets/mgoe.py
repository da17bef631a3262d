"""Macro Graph of Experts (arXiv 2506.10520, KDD'26): the published architecture, with the choices listed in the config.

    experts   o^t = [e_u^t; h_u1^t; h_u2^t; e_i^t; h_i1^t; h_i2^t]
    gates     b^t = sum_s alpha^t_s o^s
    fusion    z^t = act(W_f^t [b^t; m_u; m_i; x] + d^t)          x: plain features of user, item and context
    tower     q^t = act(W_q^t [z^t; k^t]), chained by information transfer, logit^t = v^t . q~^t + e^t

With task_emb "macro" e_u and e_i are the same in every expert, and a mixture whose weights sum to 1 leaves them as they
are: they enter gates and fusion once instead of T times, which is the same function at less cost.
Legend: B rows, T tasks, D id width, P = 2 D, O one expert's outputs, H fusion width, Q tower width, X plain inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.errors import UserError
from model.nets.config import MGOEConfig
from model.nets.cross import CROSS_WIDTH, cross_features, cross_half
from model.nets.embedding import FeatureEmbedding, graph_of
from model.nets.gates import Gates, mix
from model.nets.id_table import IdReads, id_penalty
from model.nets.information_transfer import InformationTransfer
from model.nets.interface import Architecture, Batch, FeatureBatch, GraphBatch, Half, InputSpec, NodeBatch
from model.nets.macro_side import (
    MacroSide,
    Streams,
    all_ids,
    concatenated,
    id_reads,
    plain_inputs,
    shared_inputs,
    side_pair,
)
from model.nets.macro_table import TaskTable
from model.nets.mixture import Mixture
from model.nets.stacked import StackedLinear, Towers, after_linear


class MGOE(Architecture):
    """Reads a macro graph; raises UserError where there is none."""

    def __init__(self, spec: InputSpec, config: MGOEConfig) -> None:
        super().__init__()
        self.spec = spec
        self.config = config
        tasks = len(spec.tasks)
        streams = Streams(experts=tasks, ids=tasks if config.task_emb == "full" else 1, tasks=tasks)
        self.user, self.item = side_pair(spec, streams, config, "mgoe")
        self.reads_recents = config.micro
        self.context = FeatureEmbedding(spec.context, config.inputs) if config.plain else None
        self.gates = self._make_gates()
        self._make_fusion()
        self.user_table, self.item_table = self._make_task_table(self.user), self._make_task_table(self.item)
        table = 0 if config.table == "off" else 2 * config.inputs.id_dim
        self.tower = StackedLinear(tasks, config.fusion_dim + table, config.tower_dim)
        self.after_tower = after_linear(config, tasks, config.tower_dim)
        self.info = InformationTransfer(tasks, config.tower_dim) if config.info and tasks > 1 else None
        self.logit = StackedLinear(tasks, config.tower_dim, 1)
        self._make_side_paths()

    def _widths(self) -> dict[str, int]:
        """expert: [B, T, .] of one expert. shared: equal for all. own: task by task, behind the gates. plain: x."""
        widths = {"expert": 0, "shared": 0, "own": 0, "plain": 0 if self.context is None else self.context.width}
        for side in (self.user, self.item):
            widths["expert"] += side.hop_width
            widths["shared" if side.ids_are_shared else "expert"] += side.id_width
            widths["shared" if side.micro_is_shared else "own"] += side.micro_width
            widths["plain"] += side.plain_width
        widths["plain"] += CROSS_WIDTH if self.config.cross else 0
        return widths

    def _make_gates(self) -> Gates | None:
        tasks = len(self.spec.tasks)
        if tasks == 1 or self.config.gate == "mean":
            return None
        ids = 2 * self.user.id_width * self.user.streams.ids
        if self.config.gate_input == "ids":
            if ids == 0:
                raise UserError("gate_input is ids but inputs.ids is false: set gate_input to experts")
            return Gates(tasks, ids, tasks)
        return Gates(tasks, tasks * self._widths()["expert"] + (ids if self.user.ids_are_shared else 0), tasks)

    def _make_fusion(self) -> None:
        """W_f as two blocks: what differs by task, and what all tasks read and is multiplied once for all."""
        widths, tasks, config = self._widths(), len(self.spec.tasks), self.config
        shared = widths["shared"] + widths["plain"]
        self.fusion = StackedLinear(tasks, widths["expert"] + widths["own"], config.fusion_dim)
        self.fusion_shared = StackedLinear(tasks, shared, config.fusion_dim, bias=False) if shared else None
        self.after_fusion = after_linear(config, tasks, config.fusion_dim)

    def _make_task_table(self, side: MacroSide) -> TaskTable | None:
        """R^t; the soft table reads the experts' macro nodes and has none of its own."""
        if self.config.table == "soft" and not (self.spec.graph and self.spec.graph.task_edges):
            raise UserError("table is soft but the macro graph holds no counts by task: build it with task_edges")
        if self.config.table != "hard":
            return None
        return TaskTable(side.macro.table.groups, len(self.spec.tasks), self.config.inputs.id_dim)

    def _make_side_paths(self) -> None:
        """The wide and the deep part, whose logits are added."""
        plain, tasks, config = self._widths()["plain"], len(self.spec.tasks), self.config
        self.wide = StackedLinear(tasks, plain, 1, bias=False) if config.wide and plain else None
        deep = plain + 2 * self.user.id_width * self.user.streams.ids
        self.deep: nn.Sequential | None = None
        if config.deep and deep:
            mixture = Mixture(tasks, deep, config.deep_experts, config.deep, config)
            self.deep = nn.Sequential(mixture, Towers(tasks, mixture.outputs, (), config))

    def user_half(self, user: NodeBatch) -> Half:
        return self._half(user, self.user, self.item, self.item_table)

    def item_half(self, item: NodeBatch) -> Half:
        return self._half(item, self.item, self.user, self.user_table)

    def _half(self, node: NodeBatch, side: MacroSide, other: MacroSide, table: TaskTable | None) -> Half:
        half, graph = side.half_of(node, other), graph_of(node)
        if table is not None:
            half["table_BTD"] = table(graph.dominant_BT)
        elif self.config.table == "soft":
            half["table_BTD"] = other.macro.by_task(graph.hop1.macro_Bk, _task_log_count(graph))
        return half | cross_half(graph) if self.config.cross else half

    def score(self, user: Half, item: Half, context: FeatureBatch) -> Tensor:
        ids = all_ids(user, item)
        plain = plain_inputs(user, item)
        if self.context is not None:
            plain.append(self.context(context))
        if self.config.cross:
            plain.append(cross_features(user, item))
        q_BTQ = self._towers(self._fused(user, item, plain), user, item)
        logit_BT: Tensor = self.logit(q_BTQ).squeeze(-1)
        if self.wide is not None:
            logit_BT = logit_BT + self.wide.shared(concatenated(plain)).squeeze(-1)
        if self.deep is not None:
            logit_BT = logit_BT + self.deep(concatenated([*ids, *plain]))
        return logit_BT

    def _fused(self, user: Half, item: Half, plain: list[Tensor]) -> Tensor:
        """z^t: [B, T, H]."""
        own = [half["micro_BSP"] for half in (user, item) if "micro_BSP" in half and not self.user.micro_is_shared]
        fused_BTH: Tensor = self.fusion(concatenated([self._bottom(user, item), *own]))
        if self.fusion_shared is not None:
            shared = shared_inputs(self.user, user) + shared_inputs(self.item, item)
            fused_BTH = fused_BTH + self.fusion_shared.shared(concatenated([*shared, *plain]))
        return self.after_fusion(fused_BTH)  # type: ignore[no-any-return]

    def _bottom(self, user: Half, item: Half) -> Tensor:
        """b^t: [B, T, O]."""
        parts = self.user.hops(user, self.item, item) + self.item.hops(item, self.user, user)
        if not self.user.ids_are_shared:
            parts += [half["id_BSD"] for half in (user, item) if "id_BSD" in half]
        expert_BTO = concatenated(parts)
        tasks = len(self.spec.tasks)
        if tasks == 1:
            return expert_BTO
        if self.gates is None:
            alpha_BTT = expert_BTO.new_full((1, tasks, tasks), 1 / tasks).expand(expert_BTO.shape[0], -1, -1)
        else:
            alpha_BTT = self.gates(self._gate_input(expert_BTO, all_ids(user, item)))
        if not self.config.stop_gradient:
            return mix(alpha_BTT, expert_BTO)
        fixed_BTO = expert_BTO.detach()
        own_BT1 = alpha_BTT.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        return mix(alpha_BTT, fixed_BTO) + own_BT1 * (expert_BTO - fixed_BTO)

    def _gate_input(self, expert_BTO: Tensor, ids: list[Tensor]) -> Tensor:
        if self.config.gate_input == "ids":
            return concatenated(ids)
        flat_BI = expert_BTO.flatten(1)
        return concatenated([flat_BI, *ids]) if self.user.ids_are_shared else flat_BI

    def _towers(self, z_BTH: Tensor, user: Half, item: Half) -> Tensor:
        """q~^t: [B, T, Q]."""
        if self.config.table != "off":
            z_BTH = torch.cat([z_BTH, user["table_BTD"], item["table_BTD"]], dim=-1)
        q_BTQ: Tensor = self.after_tower(self.tower(z_BTH))
        return q_BTQ if self.info is None else self.info(q_BTQ)

    def id_reads(self, batch: Batch) -> tuple[IdReads, ...]:
        return id_reads(self.user, self.item, batch)

    def auxiliary_loss(self) -> Tensor | None:
        """Penalty on the id embeddings of the last training pass (inputs.id_l2)."""
        return id_penalty(self)


def _task_log_count(graph: GraphBatch) -> Tensor:
    if graph.task_log_count_BkT is None:
        raise UserError(
            "the batch has no counts by task but table is soft: give a graph that was built with task_edges"
        )
    return graph.task_log_count_BkT
