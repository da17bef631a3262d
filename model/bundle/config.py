"""Options of packaging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class BundleConfig(BaseModel):
    """What a bundle holds beyond the model itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    utility: Mapping[str, float] | None = None
    """Default weight of each task in the combined score. Absent: every task weighs 1; tasks left out weigh 0."""
    probes: Annotated[int, Field(ge=16)] = 64
    """Probe requests, whose scores a server must reproduce before it is ready; 16 reach every kind of input once."""
    parity_rows: Annotated[int, Field(ge=1)] = 2000
    """Test rows that the parity check scores through the bundle and compares with the evaluation's predictions."""
