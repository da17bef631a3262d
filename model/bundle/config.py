"""Options of packaging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class BundleConfig(BaseModel):
    """What a bundle holds beyond the model itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    utility: Mapping[str, float] | None = None
    """Default weight of each task in the combined score. Absent: every task weighs 1; tasks left out weigh 0."""
    probes: Annotated[int, Field(ge=16)] = 64
    """Probe requests, whose scores a server must reproduce before it is ready; 16 reach every kind of input once."""
    parity_rows: Annotated[int, Field(ge=1)] = 2000
    """Test rows that the parity check asks the ranker for and compares with the evaluation's predictions."""
    parity_minimum: Annotated[int, Field(ge=1)] = 100
    """Where the log has fewer test rows than this from the bundle's moment on (and `parity_rows` asks for as many), the
    check fails."""
    parity_scorers: tuple[Literal["eager", "factorised", "aoti", "onnx"], ...] = ("factorised",)
    """Of the ranker that is asked: the quickest of these, by measurement, scores. The compiled ones take up to a minute
    to make; every server compares its own with the probes and the reference when it loads them."""
