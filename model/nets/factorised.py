"""The same scores with all that can be computed ahead taken out of the pair: for serving.

The first layer that sees user and item together is linear in them, W [x_u; x_i; x_c] = W_u x_u + W_i x_i + W_c x_c.
So W_i x_i is computed once per item of the catalogue, W_u x_u + W_c x_c once per request, and a pair begins with their
sum. Equal to `Architecture.score` up to the order of additions. Weights are folded in float64.
Legend: N pairs, R requests, P width of a part, T tasks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.nets.interface import FeatureBatch, Half
from model.nets.stacked import StackedLinear


class Factorised(nn.Module):
    """An architecture in evaluation mode, cut into a part a request, a part an item, and what is left for the pair."""

    @abstractmethod
    def user_part(self, user: Half, context: FeatureBatch) -> Tensor:
        """[R, P_u] from user halves [R, ...] and the requests' contexts."""

    @abstractmethod
    def item_part(self, item: Half) -> Tensor:
        """[n, P_i] from item halves."""

    @abstractmethod
    def forward(self, user_RP: Tensor, owner_N: Tensor, item_NP: Tensor) -> Tensor:
        """Logits [N, T]; owner_N: int64, the request that each pair belongs to."""


class Ahead(StackedLinear):
    """Stands in for a first linear map whose outputs were computed ahead: `shared` reads them from columns of x."""

    def __init__(self, first: int, stack: int, outputs: int) -> None:
        nn.Module.__init__(self)
        self.first, self.stack, self.outputs = first, stack, outputs

    def forward(self, x_BSI: Tensor) -> Tensor:
        raise TypeError("only a map that every stacked net reads alike is computed ahead")

    def shared(self, x_BP: Tensor) -> Tensor:
        width = self.stack * self.outputs
        return x_BP[:, self.first : self.first + width].view(-1, self.stack, self.outputs)


def side_by_side(linears: Sequence[StackedLinear]) -> tuple[Tensor, Tensor]:
    """Maps of one shared input as one: weight [P, I] and bias [P]."""
    weights = [linear.weight_SOI.detach().flatten(0, 1) for linear in linears]
    biases = [
        weight_PI.new_zeros(weight_PI.shape[0]) if linear.bias_SO is None else linear.bias_SO.detach().flatten()
        for linear, weight_PI in zip(linears, weights, strict=True)
    ]
    return torch.cat(weights), torch.cat(biases)


def replace_by_ahead(module: nn.Module, names: Sequence[str]) -> None:
    """Replaces the named linear maps of `module`, in this order of columns."""
    first = 0
    for name in names:
        parent, _, leaf = name.rpartition(".")
        linear = module.get_submodule(name)
        assert isinstance(linear, StackedLinear)  # noqa: S101
        stack, outputs, _ = linear.weight_SOI.shape
        setattr(module.get_submodule(parent), leaf, Ahead(first, stack, outputs))
        first += stack * outputs


def owned(part_RP: Tensor, owner_N: Tensor) -> Tensor:
    """Rows of the requests' parts, pair by pair."""
    return part_RP.index_select(0, owner_N)
