"""What a caller asks of the ranker, and what it gets back.

Legend: N candidates, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class RankRequest:
    """One user and the candidates to put in order. Unknown ids are legal: they score as cold nodes."""

    user: str
    items: tuple[str, ...]
    context: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    """Raw values of the schema's context features, by feature name; a feature that is left out counts as missing."""
    time: float | None = None
    """Unix seconds that context features derived from time are taken at; None: now. Users and items are as they were at
    the bundle's moment, whatever the time."""
    utility: Mapping[str, float] | None = None
    """Weights of the tasks in the combined score; None: the bundle's own. A task that is left out weighs 0."""
    request_id: str | None = None
    """The caller's own name for the request; it is not read, only carried into logs and answers."""


@dataclass(frozen=True)
class RankAnswer:
    """probabilities: float32 [N, T] in the order of the request's items. score: float32 [N], the combined score.

    order: int32 [N], indices into the request's items, best first; equal scores keep the request's order.
    """

    digest: str
    """Digest of the one bundle that scored the whole request."""
    tasks: tuple[str, ...]
    probabilities: Float32
    score: Float32
    order: Int32
    exposure_id: str
    """A fresh UUID; outcomes are joined to this answer by it."""
    arm: str | None = None
    """The side of the experiment that this server plays, from its settings."""
    request_id: str | None = None
    cold_user: bool = False
    """Whether the bundle does not know the user."""
    cold_items: int = 0
    """How many of the candidates the bundle does not know."""
