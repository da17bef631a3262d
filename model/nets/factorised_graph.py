"""MacGNN's factorised form. Legend as in model.nets.factorised; S networks, H width of their first layer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from model.nets.factorised import Factorised, owned
from model.nets.interface import FeatureBatch, Half
from model.nets.macgnn import MacGNN
from model.nets.macro_side import MacroSide, concatenated, plain_inputs
from model.nets.stacked import StackedLinear, StackedMLP


class MacGNNFactorised(Factorised):
    """The first layer of every network reads [user; item; plain of user, item and context], stacked net by net."""

    def __init__(self, architecture: MacGNN) -> None:
        super().__init__()
        self.sides = nn.ModuleDict({"user": architecture.user, "item": architecture.item})
        self.context = architecture.context
        first = architecture.mlp.linears[0]
        assert isinstance(first, StackedLinear)  # noqa: S101
        widths = [_width(architecture.user), _width(architecture.item)]
        plain = [architecture.user.plain_width, architecture.item.plain_width]
        context = 0 if architecture.context is None else architecture.context.width
        user, item, *rest = torch.split(first.weight_SOI.detach(), [*widths, *plain, context], dim=2)
        self.register_buffer("user_SOI", torch.cat([user, rest[0]], dim=2))
        self.register_buffer("item_SOI", torch.cat([item, rest[1]], dim=2))
        self.register_buffer("context_SOI", rest[2].contiguous())
        bias = first.bias_SO
        self.register_buffer("bias_SO", torch.zeros(user.shape[:2]) if bias is None else bias.detach().clone())
        self.stack, self.outputs = user.shape[0], user.shape[1]
        self.tasks = len(architecture.spec.tasks)
        self.mlp: StackedMLP = copy.deepcopy(architecture.mlp)
        self.mlp.linears[0] = nn.Identity()
        self.logit = copy.deepcopy(architecture.logit)

    user_SOI: Tensor
    item_SOI: Tensor
    context_SOI: Tensor
    bias_SO: Tensor

    def user_part(self, user: Half, context: FeatureBatch) -> Tensor:
        part_RSO = _product(self._inputs("user", user), self.user_SOI) + self.bias_SO
        if self.context is not None:
            x_RX = self.context(context)
            part_RSO = part_RSO + _product(x_RX.unsqueeze(1).expand(-1, self.stack, -1), self.context_SOI)
        return part_RSO.flatten(1)

    def item_part(self, item: Half) -> Tensor:
        return _product(self._inputs("item", item), self.item_SOI).flatten(1)

    def _inputs(self, name: str, half: Half) -> Tensor:
        """[B, S, I]: ids, hops and micro neighbours in MacGNN's order, then plain features."""
        side = self.sides[name]
        assert isinstance(side, MacroSide)  # noqa: S101
        parts = MacGNN._side(half, side, half, side)
        plain = plain_inputs(half, {})
        return concatenated([*parts, *(x.unsqueeze(1).expand(-1, self.stack, -1) for x in plain)])

    def forward(self, user_RP: Tensor, owner_N: Tensor, item_NP: Tensor) -> Tensor:
        x_NSO = (owned(user_RP, owner_N) + item_NP).view(-1, self.stack, self.outputs)
        hidden_NSH: Tensor = self.mlp(x_NSO)
        logit_NT1: Tensor = self.logit(hidden_NSH.expand(-1, self.tasks, -1))
        return logit_NT1.squeeze(-1)


def _width(side: MacroSide) -> int:
    return side.id_width + side.hop_width + side.micro_width


def _product(x_BSI: Tensor, weight_SOI: Tensor) -> Tensor:
    """[B, S, O], net s on x[:, s]."""
    return torch.einsum("bsi,soi->bso", x_BSI, weight_SOI)
