"""From encoded columns to tensors."""

from __future__ import annotations

import torch

from model.data.dataset import Columns
from model.nets.interface import FeatureBatch


def features_of(columns: Columns) -> FeatureBatch:
    """Codes widened to int64, as models read them."""
    return FeatureBatch(
        torch.from_numpy(columns.sparse).long(),
        torch.from_numpy(columns.dense),
        tuple(torch.from_numpy(codes_NM).long() for codes_NM in columns.multi),
    )
