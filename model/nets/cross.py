"""The pair's own macro edges: how much the user's history lies in the item's group, and the item's in the user's.

Legend: B rows, k kept edges.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.nets.interface import GraphBatch, Half

CROSS_WIDTH = 4


def cross_half(graph: GraphBatch) -> Half:
    """What the cross features need of one side."""
    log_count_Bk = graph.hop1.log_count_Bk.float()
    count_Bk = log_count_Bk.expm1()
    share_Bk = count_Bk / count_Bk.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return {
        "group_B": graph.group_B,
        "cross_macro_Bk": graph.hop1.macro_Bk,
        "cross_log_count_Bk": log_count_Bk,
        "cross_share_Bk": share_Bk,
    }


def cross_features(user: Half, item: Half) -> Tensor:
    """[B, 4]: log-count and share of the user's one-hop edges at the item's group, then the reverse. 0 for group 0."""
    columns: list[Tensor] = []
    for side, other in ((user, item), (item, user)):
        group_B1 = other["group_B"].unsqueeze(1)
        match_Bk = (side["cross_macro_Bk"] == group_B1) & (group_B1 > 0)
        columns += [(side[name] * match_Bk).sum(dim=1) for name in ("cross_log_count_Bk", "cross_share_Bk")]
    return torch.stack(columns, dim=1)
