"""What lies where in a bundle, and serving.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from model.nets.interface import InputSpec

SERVING_VERSION = 1
"""Of the whole layout; a bundle of another version is refused by name."""

WEIGHTS = "weights.safetensors"
MODEL = "model.json"
SPEC = "input_spec.json"
SERVING = "serving.json"
ENCODERS = "encoders"
USERS = "users"
ITEMS = "items"
PROBE = "probe.json"
PROBE_SCORES = "probe_scores.npy"

INPUT_SPEC: TypeAdapter[InputSpec] = TypeAdapter(InputSpec)

Weight = Annotated[float, Field(allow_inf_nan=False)]


class Serving(BaseModel):
    """serving.json: how a server uses what the other files hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    tasks: tuple[str, ...]
    utility: Mapping[str, Weight]
    """Default weight of every task in the combined score."""
    combine: Literal["expected_utility"] = "expected_utility"
    """How probabilities and weights become one score; see model.bundle.utility."""
    graph_as_of: int | None
    """Moment of the macro graph (unix seconds); None where the model reads none."""
    rates_as_of: int | None
    """Moment of the dense history (unix seconds); None where the model was trained without."""
    history_rates: bool
    graph_version: str
    timezone: str
    """Zone in which context features that are derived from the request's time are taken."""
