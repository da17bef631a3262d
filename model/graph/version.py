"""The graph's version: a hash of everything that decides what is in it, so that a model can refuse another graph."""

from __future__ import annotations

import hashlib
import json

from model.graph.config import GraphConfig
from model.graph.events import Catalogue
from model.graph.snapshots import Moments

ALGORITHM = 5
"""Raised whenever the same input and options would give another graph."""


def version_of(config: GraphConfig, catalogue: Catalogue, moments: Moments, data_digest: str) -> str:
    """16 hex digits over options (all but shards, memory and threads), tasks and levels, time cuts and data digest."""
    identity = {
        "algorithm": ALGORITHM,
        "config": config.model_dump(mode="json", exclude={"shards", "memory_mb", "threads"}),
        "tasks": list(zip(catalogue.tasks, catalogue.levels, strict=True)),
        "fit_cut": moments.fit_cut,
        "as_of": list(moments.as_of),
        "data": data_digest,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
