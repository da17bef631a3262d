"""Options of an evaluation and of a comparison."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class EvaluationConfig(BaseModel):
    """How test predictions become numbers with intervals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicates: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap replicates; each resamples the test users with all their rows."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of the intervals."""
    bins: Annotated[int, Field(ge=2, le=100)] = 15
    """Equal-mass bins of the calibration plot and of the expected calibration error."""
    seed: int = 0
    """Seed of the resampling: two evaluations with the same seed and rows draw the same users."""
    batch_size: Annotated[int, Field(ge=1)] = 8192
    """Rows scored at once."""
    gate_rows: Annotated[int, Field(ge=0)] = 4096
    """Test rows that gate weights are averaged on; 0 leaves that plot out."""
