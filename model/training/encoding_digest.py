"""Identity of a dataset's encoding: what every node index and feature code means."""

from __future__ import annotations

import hashlib

import numpy as np

from model.artifact.manifest import Manifest, digest_of_files
from model.data.artifact import ENCODERS
from model.data.dataset import Dataset, Nodes


def encoding_digest(dataset: Dataset) -> str:
    """SHA-256 over tasks, node ids and node features. Two datasets with the same one can exchange models."""
    digest = hashlib.sha256()
    digest.update("\0".join(dataset.schema.task_names).encode())
    for nodes in (dataset.users, dataset.items):
        _add(digest, nodes)
    return digest.hexdigest()


def encoders_digest(log: Manifest) -> str:
    """SHA-256 over the encoder tables of a log artifact: what the codes of its context features mean, too."""
    return digest_of_files({name: sha for name, sha in log.files.items() if name.startswith(f"{ENCODERS}/")})


def _add(digest: hashlib._Hash, nodes: Nodes) -> None:
    columns = nodes.features
    for array in (nodes.ids, nodes.seen, columns.sparse, columns.dense, *columns.multi):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
