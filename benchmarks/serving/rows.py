"""Scoring as training does it: one row per candidate, the user repeated, one forward pass. For the peers.

Legend: N candidates, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.bundle.bundle import Bundle
from model.bundle.probe import Value
from model.nets.interface import Batch
from model.nets.node_store import FeatureTable

_CPU = torch.device("cpu")


def probabilities_of(
    bundle: Bundle, user: str, items: Sequence[str], context: Mapping[str, Value], moment: float
) -> Tensor:
    """Probabilities [N, T]."""
    with torch.inference_mode():
        return torch.sigmoid(bundle.architecture(batch_of(bundle, user, items, context, moment)))


def batch_of(bundle: Bundle, user: str, items: Sequence[str], context: Mapping[str, Value], moment: float) -> Batch:
    """The rows of one request."""
    item_N = torch.from_numpy(bundle.items.find(list(items))).long()
    user_N = torch.from_numpy(bundle.users.find([user])).long().expand(len(items))
    time_N = torch.full((len(items),), int(moment))
    encoded = FeatureTable.of(bundle.context.encode([context], [moment]), _CPU)
    return Batch(
        bundle.store.users(user_N, time_N),
        bundle.store.items(item_N, time_N),
        encoded.take(torch.zeros(len(items), dtype=torch.int64)),
    )
