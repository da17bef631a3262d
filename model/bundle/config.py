"""Options of packaging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class BundleConfig(BaseModel):
    """What a bundle holds beyond the model itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    utility: Mapping[str, float] | None = None
    """Default weight of each task in the combined score; tasks left out weigh 0, and absent every task weighs 1."""
    probes: Annotated[int, Field(ge=8)] = 64
    """Probe requests: raw requests whose scores a server must reproduce before it is ready."""
    probe_items: Annotated[int, Field(ge=1)] = 8
    """Most candidates of a probe request."""
    seed: int = 0
    """Which users, items and contexts are drawn for probing."""
