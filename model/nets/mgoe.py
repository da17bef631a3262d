"""Macro Graph of Experts (arXiv 2506.10520, KDD'26): the published architecture, with the choices listed in the config.

    experts   o^t = [e_u^t; h_u1^t; h_u2^t; e_i^t; h_i1^t; h_i2^t]
    gates     b^t = sum_s alpha^t_s o^s
    fusion    z^t = act(W_f^t [b^t; m_u; m_i; x] + d^t)          x: plain features of user, item and context
    tower     q^t = act(W_q^t [z^t; k^t]), chained by information transfer, logit^t = v^t . q~^t + e^t

With task_emb "macro" e_u and e_i are the same in every expert, and a mixture whose weights sum to 1 leaves them as they
are: they enter gates and fusion once instead of T times, which is the same function at less cost.
Legend: B rows, T tasks, D id width, P = 2 D, O one expert's outputs, S inputs shared by all tasks, X plain inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.errors import UserError
from model.nets.config import MGOEConfig
from model.nets.cross import CROSS_WIDTH, cross_features, cross_half
from model.nets.embedding import FeatureEmbedding, graph_of
from model.nets.gates import Gates, mix
from model.nets.information_transfer import InformationTransfer
from model.nets.interface import Architecture, FeatureBatch, Half, InputSpec, NodeBatch
from model.nets.macro_experts import pack, unpack
from model.nets.macro_side import MacroSide
from model.nets.stacked import StackedLinear, after_linear


class MGOE(Architecture):
    """Reads a macro graph; raises UserError where there is none."""

    def __init__(self, spec: InputSpec, config: MGOEConfig) -> None:
        super().__init__()
        if spec.graph is None:
            raise UserError(
                "architecture mgoe reads a macro graph and none was given: build one from the log and name it"
            )
        self.spec = spec
        self.config = config
        tasks = len(spec.tasks)
        user, item = MacroSide.pair(spec, spec.graph, config)
        self.user, self.item = user, item
        self.context = FeatureEmbedding(spec.context, config.inputs) if config.plain else None
        context_width = 0 if self.context is None else self.context.width
        plain = user.plain_width + item.plain_width + context_width + (CROSS_WIDTH if config.cross else 0)
        expert = user.expert_width + item.expert_width
        shared = user.shared_width + item.shared_width + plain
        own = user.own_width + item.own_width
        gate_inputs = {"experts": tasks * expert + user.id_shared + item.id_shared, "ids": user.id_all + item.id_all}
        self.gates = None
        if config.gate == "softmax" and tasks > 1:
            if gate_inputs[config.gate_input] == 0:
                raise UserError("gate_input is ids but inputs.ids is false: set gate_input to experts")
            self.gates = Gates(tasks, gate_inputs[config.gate_input], tasks)
        self.fusion = StackedLinear(tasks, expert + own, config.fusion_dim)
        self.fusion_shared = StackedLinear(tasks, shared, config.fusion_dim, bias=False) if shared else None
        self.after_fusion = after_linear(config.activation, config.norm, config.dropout, tasks, config.fusion_dim)
        table = 0 if config.table == "off" else 2 * config.inputs.id_dim
        self.tower = StackedLinear(tasks, config.fusion_dim + table, config.tower_dim)
        self.after_tower = after_linear(config.activation, config.norm, config.dropout, tasks, config.tower_dim)
        self.info = InformationTransfer(tasks, config.tower_dim) if config.info and tasks > 1 else None
        self.logit = StackedLinear(tasks, config.tower_dim, 1)
        self.wide = StackedLinear(tasks, plain, 1, bias=False) if config.wide and plain else None

    def user_half(self, user: NodeBatch) -> Half:
        return self._half(user, self.user, self.item)

    def item_half(self, item: NodeBatch) -> Half:
        return self._half(item, self.item, self.user)

    def _half(self, node: NodeBatch, side: MacroSide, other: MacroSide) -> Half:
        """hop 1 leads to the other side's macro nodes, hop 2 back to this side's."""
        graph = graph_of(node)
        half: Half = side.own_inputs(node, graph, other)
        hops = {"hop1": other.macro.weights(graph.hop1)}
        if self.config.two_hop:
            hops["hop2"] = side.macro.weights(graph.hop2)
        if self.config.attention == "target":
            for name, weights in hops.items():
                half |= pack(name, weights)
        else:
            for name, weights in hops.items():
                half[f"{name}_BTP"] = (other if name == "hop1" else side).macro(weights)
        if self.config.cross:
            half |= cross_half(node)
        return half

    def score(self, user: Half, item: Half, context: FeatureBatch) -> Tensor:
        expert_BTO = torch.cat([*self._expert(user, item, True), *self._expert(item, user, False)], dim=-1)
        ids = [half["id_BW"] for half in (user, item) if "id_BW" in half]
        bottom_BTO = self._bottom(expert_BTO, ids)
        plain = self._plain(user, item, context)
        own = [half[name] for half in (user, item) for name in ("micro_BTP",) if name in half]
        fused_BTH = self.fusion(torch.cat([bottom_BTO, *own], dim=-1) if own else bottom_BTO)
        shared = [half[name] for half in (user, item) for name in ("id_shared_BD", "micro_BP") if name in half]
        if self.fusion_shared is not None:
            fused_BTH = fused_BTH + self.fusion_shared.shared(torch.cat([*shared, *plain], dim=1))
        z_BTH = self.after_fusion(fused_BTH)
        if self.config.table != "off":
            z_BTH = torch.cat([z_BTH, user["table_BTD"], item["table_BTD"]], dim=-1)
        q_BTQ = self.after_tower(self.tower(z_BTH))
        if self.info is not None:
            q_BTQ = self.info(q_BTQ)
        logit_BT: Tensor = self.logit(q_BTQ).squeeze(-1)
        if self.wide is not None:
            logit_BT = logit_BT + self.wide.shared(torch.cat(plain, dim=1)).squeeze(-1)
        return logit_BT

    def _expert(self, half: Half, other: Half, is_user: bool) -> list[Tensor]:
        """One side's part of every expert: [B, T, ...] pieces."""
        pieces = [half["id_BTD"]] if "id_BTD" in half else []
        if self.config.attention == "none":
            return pieces + [half[name] for name in ("hop1_BTP", "hop2_BTP") if name in half]
        side, opposite = (self.user, self.item) if is_user else (self.item, self.user)
        target_BTD = other["id_BW"].view(other["id_BW"].shape[0], -1, self.config.inputs.id_dim)
        target_BTD = target_BTD.expand(-1, len(self.spec.tasks), -1)
        pieces.append(opposite.macro.attend(unpack("hop1", half), target_BTD))
        if self.config.two_hop:
            pieces.append(side.macro.attend(unpack("hop2", half), target_BTD))
        return pieces

    def _bottom(self, expert_BTO: Tensor, ids: list[Tensor]) -> Tensor:
        """b^t of every task: [B, T, O]."""
        tasks = len(self.spec.tasks)
        if tasks == 1:
            return expert_BTO
        if self.gates is None:
            alpha_BTT = expert_BTO.new_full((1, tasks, tasks), 1 / tasks).expand(expert_BTO.shape[0], -1, -1)
        else:
            alpha_BTT = self.gates(self._gate_input(expert_BTO, ids))
        if not self.config.stop_gradient:
            return mix(alpha_BTT, expert_BTO)
        fixed_BTO = expert_BTO.detach()
        own_BT1 = alpha_BTT.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        return mix(alpha_BTT, fixed_BTO) + own_BT1 * (expert_BTO - fixed_BTO)

    def _gate_input(self, expert_BTO: Tensor, ids: list[Tensor]) -> Tensor:
        if self.config.gate_input == "ids":
            return torch.cat(ids, dim=1)
        flat_BI = expert_BTO.flatten(1)
        return torch.cat([flat_BI, *ids], dim=1) if self.config.task_emb == "macro" else flat_BI

    def _plain(self, user: Half, item: Half, context: FeatureBatch) -> list[Tensor]:
        plain = [half["plain_BX"] for half in (user, item) if "plain_BX" in half]
        if self.context is not None:
            plain.append(self.context(context))
        if self.config.cross:
            plain.append(cross_features(user, item))
        return plain

    def auxiliary_loss(self) -> Tensor | None:
        """Penalty on the id embeddings of the last training pass (inputs.id_l2)."""
        penalties = [side.penalty for side in (self.user, self.item) if side.penalty is not None]
        return torch.stack(penalties).sum() if penalties else None
