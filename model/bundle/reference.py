"""The plainest right way to score a request with a bundle: what every faster path is compared with.

Legend: N candidates, T tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from model.bundle.bundle import Bundle
from model.bundle.context_encoder import Context
from model.nets.node_store import FeatureTable

Float32 = npt.NDArray[np.float32]
_CPU = torch.device("cpu")


@torch.inference_mode()
def probabilities(bundle: Bundle, user: str, items: Sequence[str], context: Context, time: float) -> Float32:
    """Per-task probabilities of one user's candidates, float32 [N, T]; the user's half is computed once."""
    user_1 = torch.from_numpy(bundle.users.find([user])).long()
    item_N = torch.from_numpy(bundle.items.find(items)).long()
    now = torch.tensor([int(time)])
    user_half = bundle.architecture.user_half(bundle.store.users(user_1, now))
    item_half = bundle.architecture.item_half(bundle.store.items(item_N, now.repeat(len(item_N))))
    rows_N = torch.zeros(len(item_N), dtype=torch.int64)
    shared = {name: tensor.index_select(0, rows_N) for name, tensor in user_half.items()}
    encoded = FeatureTable.of(bundle.context.encode([context], [time]), _CPU).take(rows_N)
    return torch.sigmoid(bundle.architecture.score(shared, item_half, encoded).float()).numpy()
