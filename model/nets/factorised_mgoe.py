"""MGOE's factorised form.

    gates     logits are linear in all experts' outputs, which are each the user's or the item's: a sum of two parts
    fusion    W_f^t b^t = sum_s alpha^t_s W_f^t o^s, and W_f^t o^s splits in the same way, so W_f^t o^s of the item is
              kept for every (t, s), and that of the user computed once per request
    tower     the task table's columns of W_q^t split; what is left for the pair is W_q^t z^t and information transfer

A side's part of a linear map is the map at 0 for the other side. Legend as in model.nets.factorised; S experts (T, or 0
where the gates do not depend on the pair), H fusion width, Q tower width, O outputs of one expert, B rows of one side.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from model.nets.cross import cross_features
from model.nets.factorised import Factorised, owned, replace_by_ahead
from model.nets.folded_transfer import FoldedTransfer
from model.nets.interface import FeatureBatch, Half
from model.nets.mgoe import MGOE
from model.nets.mgoe_linear import MGOELinear

_CROSS = ("group_B", "cross_macro_Bk", "cross_log_count_Bk", "cross_share_Bk")
"""Edges travel as float32 beside the rest; macro nodes up to 2^24 stay exact."""


class MGOEFactorised(Factorised):
    """A part is what MGOELinear names, side by side, mixed last, then the edges that cross features read.

    wide_items: an item's mixed part is W_f^t o^s [T S H]; else o^s alone [S O_i].
    """

    def __init__(self, architecture: MGOE, wide_items: bool) -> None:
        super().__init__()
        self.linear = MGOELinear(architecture)
        self.tasks = len(architecture.spec.tasks)
        self.cross = architecture.config.cross
        fusion = architecture.fusion.weight_SOI.detach()
        self.hidden = fusion.shape[1]
        columns = self.linear.item_columns()
        self.narrow = len(columns) if not wide_items and architecture.gates is not None else 0
        self.register_buffer("item_TOH", fusion[:, :, columns].mT.contiguous() if self.narrow else None)
        self.register_buffer("tower_THQ", architecture.tower.weight_SOI.detach()[:, :, : self.hidden].mT.contiguous())
        self.after_fusion = copy.deepcopy(architecture.after_fusion)
        self.after_tower = copy.deepcopy(architecture.after_tower)
        self.last = _last(architecture)
        self.deep = None if architecture.deep is None else copy.deepcopy(architecture.deep)
        if self.deep is not None:
            replace_by_ahead(self.deep, self.linear.deep_names)
        self.widths = self._widths(architecture)
        crossed = ("base", "wide", "deep") if self.cross else ()
        for name in crossed:
            if name in self.widths:
                self.register_buffer(f"cross_{name}", self.linear.cross_weight(name))
        self.mixed = 0 if architecture.gates is None else self.tasks**2 * self.hidden

    item_TOH: Tensor | None
    tower_THQ: Tensor

    def _widths(self, architecture: MGOE) -> dict[str, int]:
        """Of the shares that are added, in the order of MGOELinear."""
        tasks = self.tasks
        widths = {"gate": tasks**2} if architecture.gates is not None else {}
        widths["table"] = tasks * self.tower_THQ.shape[2]
        if architecture.wide is not None:
            widths["wide"] = tasks
        if self.linear.deep_PX is not None:
            widths["deep"] = self.linear.deep_PX.shape[0]
        return widths | {"base": tasks * self.hidden}

    def user_part(self, user: Half, context: FeatureBatch) -> Tensor:
        parts = self.linear.of_user(user, context)
        return torch.cat([*parts.values(), *self._edges(user)], dim=1)

    def item_part(self, item: Half) -> Tensor:
        parts = self.linear.of_item(item, outputs_only=bool(self.narrow))
        return torch.cat([*parts.values(), *self._edges(item)], dim=1)

    def _edges(self, half: Half) -> list[Tensor]:
        return [half[name].reshape(half[name].shape[0], -1).float() for name in _CROSS] if self.cross else []

    def forward(self, user_RP: Tensor, owner_N: Tensor, item_NP: Tensor) -> Tensor:
        added = sum(self.widths.values())
        user_NP = user_RP if user_RP.shape[0] == 1 else owned(user_RP, owner_N)
        sums = torch.split(user_NP[:, :added] + item_NP[:, :added], list(self.widths.values()), dim=1)
        pair = dict(zip(self.widths, sums, strict=True))
        if self.cross:
            pair = self._with_cross(pair, user_NP[:, added:], item_NP[:, added:])
        z_NTH = pair["base"].view(-1, self.tasks, self.hidden)
        if self.mixed:
            alpha_NTS = torch.softmax(pair["gate"].view(-1, self.tasks, self.tasks), dim=-1)
            z_NTH = z_NTH + self._mixed(alpha_NTS, user_NP[:, added:], item_NP[:, added:])
        z_NTH = self.after_fusion(z_NTH)
        q_NTQ = torch.bmm(z_NTH.transpose(0, 1), self.tower_THQ).transpose(0, 1)
        q_NTQ = self.after_tower(q_NTQ + pair["table"].view(-1, self.tasks, q_NTQ.shape[-1]))
        logit_NT: Tensor = self.last(q_NTQ)
        if "wide" in pair:
            logit_NT = logit_NT + pair["wide"]
        return logit_NT if self.deep is None else logit_NT + self.deep(pair["deep"])

    def _mixed(self, alpha_NTS: Tensor, user_BM: Tensor, item_NM: Tensor) -> Tensor:
        """sum_s alpha^t_s W_f^t (o_u^s + o_i^s): [N, T, H]. user_BM: one row where all pairs are of one request."""
        shape = (-1, self.tasks, self.tasks, self.hidden)
        user_BTSH = user_BM[:, : self.mixed].reshape(shape)
        if self.item_TOH is None:
            both_NTSH = user_BTSH + item_NM[:, : self.mixed].reshape(shape)
            return (alpha_NTS.unsqueeze(-1) * both_NTSH).sum(dim=2)
        user_NTH = (alpha_NTS.unsqueeze(-1) * user_BTSH).sum(dim=2)
        item_NSO = item_NM[:, : self.tasks * self.narrow].reshape(-1, self.tasks, self.narrow)
        item_TNO = torch.bmm(alpha_NTS, item_NSO).transpose(0, 1)
        return user_NTH + torch.bmm(item_TNO, self.item_TOH).transpose(0, 1)

    def _with_cross(self, pair: dict[str, Tensor], user_BM: Tensor, item_NM: Tensor) -> dict[str, Tensor]:
        item_mixed = self.tasks * self.narrow if self.narrow else self.mixed
        user = _cross_half(user_BM[:, self.mixed :].expand(item_NM.shape[0], -1))
        cross_N4 = cross_features(user, _cross_half(item_NM[:, item_mixed:]))
        added = {name: cross_N4 @ getattr(self, f"cross_{name}") for name in pair if hasattr(self, f"cross_{name}")}
        return {name: part + added[name] if name in added else part for name, part in pair.items()}


def _cross_half(edges_NE: Tensor) -> Half:
    kept = (edges_NE.shape[1] - 1) // 3
    group_N1, macro, log_count, share = torch.split(edges_NE, [1, kept, kept, kept], dim=1)
    return dict(zip(_CROSS, (group_N1.squeeze(1), macro, log_count, share), strict=True))


def _last(architecture: MGOE) -> nn.Module:
    """[N, T, Q] -> logits [N, T]."""
    if architecture.info is not None:
        return FoldedTransfer(architecture.info, architecture.logit)
    return nn.Sequential(copy.deepcopy(architecture.logit), nn.Flatten(1))
