"""Factorised forms of the architectures that read one vector of all inputs. Legend as in model.nets.factorised."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from model.nets.aitm import AITM
from model.nets.esmm import ESMM
from model.nets.extraction import Extraction
from model.nets.factorised import Factorised, owned, replace_by_ahead, side_by_side
from model.nets.interface import FeatureBatch, Half
from model.nets.mmoe import MMoE
from model.nets.plain import PlainArchitecture
from model.nets.ple import PLE
from model.nets.shared_bottom import SharedBottom
from model.nets.stacked import StackedLinear, StackedMLP, Towers


class PlainFactorised(Factorised):
    """Experts' (bottoms', towers') and gates' first linear maps side by side are one map of the joined vector."""

    def __init__(self, architecture: PlainArchitecture, names: Sequence[str]) -> None:
        super().__init__()
        linears = [architecture.get_submodule(name) for name in names]
        weight_PX, bias_P = side_by_side([linear for linear in linears if isinstance(linear, StackedLinear)])
        widths = [architecture.user.width, architecture.item.width, architecture.context.width]
        user_PX, item_PX, context_PX = torch.split(weight_PX, widths, dim=1)
        self.register_buffer("user_XP", user_PX.T.contiguous())
        self.register_buffer("item_XP", item_PX.T.contiguous())
        self.register_buffer("context_XP", context_PX.T.contiguous())
        self.register_buffer("bias_P", bias_P)
        self.context = architecture.context
        self.rest: PlainArchitecture = without_tables(architecture)
        replace_by_ahead(self.rest, names)

    user_XP: Tensor
    item_XP: Tensor
    context_XP: Tensor
    bias_P: Tensor

    def user_part(self, user: Half, context: FeatureBatch) -> Tensor:
        part_RP: Tensor = torch.addmm(self.bias_P, user["x_BX"], self.user_XP)
        return part_RP + self.context(context) @ self.context_XP  # type: ignore[no-any-return]

    def item_part(self, item: Half) -> Tensor:
        part_BP: Tensor = item["x_BX"] @ self.item_XP
        return part_BP

    def forward(self, user_RP: Tensor, owner_N: Tensor, item_NP: Tensor) -> Tensor:
        user_NP = user_RP if user_RP.shape[0] == 1 else owned(user_RP, owner_N)
        logit_NT: Tensor = self.rest.logits(user_NP + item_NP)
        return logit_NT


def without_tables(architecture: PlainArchitecture) -> PlainArchitecture:
    """A copy that has no embeddings, which the pair does not read."""
    tables = {name: getattr(architecture, name) for name in ("user", "item", "context")}
    memo = {id(table): None for table in tables.values()}
    return copy.deepcopy(architecture, memo)


def first_linears(architecture: PlainArchitecture) -> list[str] | None:
    """Names of the linear maps that read the joined vector; None where something else reads it too."""
    names: list[str] | None = None
    match architecture:
        case SharedBottom():
            names = _of_mlp("bottom", architecture.bottom)
        case MMoE():
            names = _of_mlp("mixture.experts", architecture.mixture.experts)
            if names is not None and architecture.mixture.gates is not None:
                names.append("mixture.gates.linear")
        case PLE():
            names = _of_extraction("levels.0", architecture.levels[0])
        case AITM():
            names = _of_mlp("bottoms", architecture.bottoms)
        case ESMM():
            names = _of_towers("towers", architecture.towers)
    return names


def _of_mlp(name: str, mlp: StackedMLP) -> list[str] | None:
    return [f"{name}.linears.0"] if len(mlp.linears) else None


def _of_towers(name: str, towers: Towers) -> list[str] | None:
    return _of_mlp(f"{name}.hidden", towers.hidden)


def _of_extraction(name: str, level: object) -> list[str] | None:
    assert isinstance(level, Extraction)  # noqa: S101
    experts = _of_mlp(f"{name}.task_experts", level.task_experts)
    shared = _of_mlp(f"{name}.shared_experts", level.shared_experts)
    if experts is None or shared is None:
        return None
    gates = [f"{name}.gates"] + ([] if level.shared_gate is None else [f"{name}.shared_gate"])
    return [*experts, *shared, *gates]
