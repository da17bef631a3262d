"""The pair's part of a factorised form as one module of tensors, and its export for compilers.

Legend: N pairs, R requests, n items, P widths of the parts, T tasks.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from model.nets.factorised import Factorised

MOST_PAIRS = 2**20
MOST_REQUESTS = 2**16


class Pairs(nn.Module):
    """(user_RP, owner_N, item_N, table_nP) -> logits [N, T]: looks the items up and scores them."""

    def __init__(self, factorised: Factorised) -> None:
        super().__init__()
        # The parts' own maps hold the embedding tables, which a pair does not read.
        ahead = {
            id(child): None for name, child in factorised.named_children() if name in ("linear", "context", "sides")
        }
        self.factorised = copy.deepcopy(factorised, ahead)

    def forward(self, user_RP: Tensor, owner_N: Tensor, item_N: Tensor, table_nP: Tensor) -> Tensor:
        logit_NT: Tensor = self.factorised(user_RP, owner_N, table_nP.index_select(0, item_N))
        return logit_NT


class PairsOfOne(nn.Module):
    """Pairs of a single request: (user_1P, item_N, table_nP) -> logits [N, T]; its part is added without being copied
    to every pair."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self.factorised = pairs.factorised

    def forward(self, user_1P: Tensor, item_N: Tensor, table_nP: Tensor) -> Tensor:
        logit_NT: Tensor = self.factorised(user_1P, torch.zeros_like(item_N), table_nP.index_select(0, item_N))
        return logit_NT


Example = tuple[Tensor, Tensor, Tensor, Tensor]


def example(user_RP: Tensor, table_nP: Tensor, pairs: int = 128) -> Example:
    """Arguments of Pairs to trace with: two requests at least, since one is a case of its own to a compiler."""
    owner_N = torch.arange(pairs) % 2
    return at_least_two(user_RP), owner_N, torch.arange(pairs) % len(table_nP), table_nP


def dynamic_shapes() -> tuple[
    dict[int, torch.export.Dim], dict[int, torch.export.Dim], dict[int, torch.export.Dim], None
]:
    """Any number of requests and pairs; the catalogue's size is fixed by the bundle."""
    requests = torch.export.Dim("requests", min=2, max=MOST_REQUESTS)
    pairs = torch.export.Dim("pairs", min=2, max=MOST_PAIRS)
    return {0: requests}, {0: pairs}, {0: pairs}, None


def at_least_two(user_RP: Tensor) -> Tensor:
    return user_RP.expand(2, -1).contiguous() if user_RP.shape[0] == 1 else user_RP
