"""All linear maps of MGOE that read both sides before anything else does, and each side's share of them.

A share is the map at 0 for the other side, so no columns need be told apart. Legend as in model.nets.factorised_mgoe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.cross import CROSS_WIDTH
from model.nets.factorised import side_by_side
from model.nets.gates import Gates
from model.nets.interface import FeatureBatch, Half
from model.nets.macro_side import MacroSide, all_ids, concatenated, plain_inputs, shared_inputs
from model.nets.mgoe import MGOE
from model.nets.stacked import StackedLinear

_LINEAR = ("id_BSD", "hop1_BTP", "hop2_BTP", "micro_BSP", "table_BTD")
"""Tensors of a half that enter by linear maps alone, of equal shapes on both sides."""


class MGOELinear(nn.Module):
    """Shares [B, .] by name: gate (T S), table (T Q), wide (T), deep (its first layer), base (T H), mixed (T S H).

    Biases belong to the user's share. Cross features belong to the pair: their columns of `crossed` are apart.
    """

    def __init__(self, architecture: MGOE) -> None:
        super().__init__()
        self.model = architecture
        self.tasks = len(architecture.spec.tasks)
        self.deep_names = _deep_names(architecture.deep)
        fusion, tower = architecture.fusion.weight_SOI.detach(), architecture.tower.weight_SOI.detach()
        self.hidden = fusion.shape[1]
        outputs = architecture._widths()["expert"]
        self.register_buffer("mixed_PO", fusion[:, :, :outputs].flatten(0, 1).contiguous())
        self.register_buffer("own_TOH", fusion[:, :, outputs:].mT.contiguous())
        self.register_buffer("table_TIQ", tower[:, :, self.hidden :].mT.contiguous())
        self.deep_PX: Tensor | None = None
        self.deep_P: Tensor | None = None
        if architecture.deep is not None:
            deep = [architecture.deep.get_submodule(name) for name in self.deep_names]
            self.deep_PX, self.deep_P = side_by_side([each for each in deep if isinstance(each, StackedLinear)])

    mixed_PO: Tensor
    own_TOH: Tensor
    table_TIQ: Tensor

    def of_user(self, user: Half, context: FeatureBatch) -> dict[str, Tensor]:
        """The share of users and contexts, biases included."""
        model = self.model
        x_BX = None if model.context is None else model.context(context)
        return self._maps(user, _blank(user, model.item), x_BX)

    def of_item(self, item: Half, outputs_only: bool = False) -> dict[str, Tensor]:
        """The share of items. outputs_only: mixed is the item's part of the experts' outputs, [S O_i], instead."""
        model, rows = self.model, _rows(item)
        user = _blank(item, model.user)
        width = 0 if model.context is None else model.context.width
        x_BX = None if model.context is None else next(iter(item.values())).new_zeros(rows, width)
        share = self._maps(user, item, x_BX)
        nothing = self._maps(
            _blank(item, model.user, 1), _blank(item, model.item, 1), None if x_BX is None else x_BX[:1]
        )
        share = {name: part - nothing[name] for name, part in share.items()}
        if outputs_only and "mixed" in share:
            outputs_BSO = self._outputs(user, item)[:, :, self.item_columns()]
            share["mixed"] = outputs_BSO.flatten(1)
        return share

    def item_columns(self) -> list[int]:
        """Places of the item's part in one expert's output: [hops of u; hops of i; id of u; id of i]."""
        user, item = self.model.user, self.model.item
        ids = 0 if self.model.user.ids_are_shared else item.id_width
        after_hops = user.hop_width + item.hop_width
        return [*range(user.hop_width, after_hops), *range(after_hops + ids, after_hops + 2 * ids)]

    def cross_weight(self, name: str) -> Tensor:
        """[4, .]: what the pair's cross features add to base, wide or deep; they are the last of the plain inputs."""
        model = self.model
        if name == "base":
            assert model.fusion_shared is not None  # noqa: S101
            weight = model.fusion_shared.weight_SOI.detach().flatten(0, 1)
        elif name == "wide":
            assert model.wide is not None  # noqa: S101
            weight = model.wide.weight_SOI.detach().flatten(0, 1)
        else:
            assert self.deep_PX is not None  # noqa: S101
            weight = self.deep_PX
        return weight[:, -CROSS_WIDTH:].T.contiguous()

    def _outputs(self, user: Half, item: Half) -> Tensor:
        """o^s: [B, S, O], in the order of MGOE._bottom."""
        model = self.model
        parts = model.user.hops(user, model.item, item) + model.item.hops(item, model.user, user)
        if not model.user.ids_are_shared:
            parts += all_ids_by_stream(user, item)
        return concatenated(parts)

    def _maps(self, user: Half, item: Half, context_BX: Tensor | None) -> dict[str, Tensor]:
        model, rows = self.model, _rows(user)
        outputs_BSO = self._outputs(user, item)
        plain = plain_inputs(user, item) + ([] if context_BX is None else [context_BX])
        if model.config.cross:
            plain.append(outputs_BSO.new_zeros(rows, CROSS_WIDTH))
        mixed_BSP = functional.linear(outputs_BSO, self.mixed_PO)
        mixed_BTSH = mixed_BSP.view(*mixed_BSP.shape[:2], -1, self.hidden).transpose(1, 2)
        shares = self._gate_and_table(user, item, outputs_BSO)
        shares |= self._side_paths(user, item, plain)
        base_BTH = self._base(user, item, plain)
        if model.gates is None:
            return shares | {"base": (base_BTH + mixed_BTSH.mean(dim=2)).flatten(1)}
        return shares | {"base": base_BTH.flatten(1), "mixed": mixed_BTSH.flatten(1)}

    def _gate_and_table(self, user: Half, item: Half, outputs_BSO: Tensor) -> dict[str, Tensor]:
        model = self.model
        shares: dict[str, Tensor] = {}
        if model.gates is not None:
            gate_input = model._gate_input(outputs_BSO, all_ids(user, item))
            shares["gate"] = model.gates.linear.shared(gate_input).flatten(1)
        tables = [half["table_BTD"] for half in (user, item)] if model.config.table != "off" else []
        assert model.tower.bias_SO is not None  # noqa: S101
        table_BTQ = model.tower.bias_SO.detach().expand(_rows(user), -1, -1)
        if tables:
            table_BTQ = table_BTQ + _task_by_task(concatenated(tables), self.table_TIQ)
        shares["table"] = table_BTQ.flatten(1)
        return shares

    def _side_paths(self, user: Half, item: Half, plain: list[Tensor]) -> dict[str, Tensor]:
        shares: dict[str, Tensor] = {}
        if self.model.wide is not None:
            shares["wide"] = self.model.wide.shared(concatenated(plain)).squeeze(-1)
        if self.deep_PX is not None:
            deep_BX = concatenated([*all_ids(user, item), *plain])
            shares["deep"] = functional.linear(deep_BX, self.deep_PX, self.deep_P)
        return shares

    def _base(self, user: Half, item: Half, plain: list[Tensor]) -> Tensor:
        """Fusion of what no gate weighs: [B, T, H]."""
        model = self.model
        assert model.fusion.bias_SO is not None  # noqa: S101
        base_BTH = model.fusion.bias_SO.detach().expand(_rows(user), -1, -1)
        if not model.user.micro_is_shared:
            own = [half["micro_BSP"] for half in (user, item) if "micro_BSP" in half]
            if own:
                base_BTH = base_BTH + _task_by_task(concatenated(own), self.own_TOH)
        if model.fusion_shared is not None:
            shared = shared_inputs(model.user, user) + shared_inputs(model.item, item)
            base_BTH = base_BTH + model.fusion_shared.shared(concatenated([*shared, *plain]))
        return base_BTH


def all_ids_by_stream(user: Half, item: Half) -> list[Tensor]:
    """e_u, e_i of every expert: [B, T, D] each."""
    return [half["id_BSD"] for half in (user, item) if "id_BSD" in half]


def _task_by_task(x_BTI: Tensor, weight_TIO: Tensor) -> Tensor:
    """[B, T, O], map t on x[:, t]."""
    return torch.bmm(x_BTI.transpose(0, 1), weight_TIO).transpose(0, 1)


def _rows(half: Half) -> int:
    return next(iter(half.values())).shape[0]


def _blank(like: Half, side: MacroSide, rows: int | None = None) -> Half:
    """Zeros in the shapes of the other side's half (or as many rows of them)."""
    count = _rows(like) if rows is None else rows
    blank = {name: like[name].new_zeros(count, *like[name].shape[1:]) for name in _LINEAR if name in like}
    if "plain_BX" in like:
        blank["plain_BX"] = like["plain_BX"].new_zeros(count, side.plain_width)
    return blank


def _deep_names(deep: nn.Sequential | None) -> list[str]:
    if deep is None:
        return []
    mixture = deep[0]
    return ["0.experts.linears.0", *(["0.gates.linear"] if isinstance(mixture.gates, Gates) else [])]
