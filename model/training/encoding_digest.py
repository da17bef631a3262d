"""Identity of a dataset's encoding: what every node index and feature code means."""

from __future__ import annotations

import hashlib

import numpy as np

from model.data.dataset import Dataset, Nodes


def encoding_digest(dataset: Dataset) -> str:
    """SHA-256 over tasks, node ids and node features. Two datasets with the same one can exchange models."""
    digest = hashlib.sha256()
    digest.update("\0".join(dataset.schema.task_names).encode())
    for nodes in (dataset.users, dataset.items):
        _add(digest, nodes)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, nodes: Nodes) -> None:
    columns = nodes.features
    for array in (nodes.ids, nodes.seen, columns.sparse, columns.dense, *columns.multi):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
