"""What decide() is told of the run's measures: plain values, with None where there is no answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["win", "harm", "inconclusive", "invalid"]


@dataclass(frozen=True)
class MetricReading:
    """The always-valid estimate of one metric's relative effect."""

    name: str
    estimate: float | None
    """None: no units yet, which is no fault. NaN: a fault."""
    low: float
    high: float
    """The interval; infinite where there is too little data to say anything, or no baseline above 0."""
    baseline_units: int = 0
    candidate_units: int = 0
    proof: float = -math.inf
    """Always-valid lower end, in the metric's own units, of what its role asks for: of the improvement (Primary), of
    the improvement and the margin together (NonInferior). Above 0 it is proven, whatever the sign of the baseline."""


@dataclass(frozen=True)
class GuardrailReading:
    """The latest value behind a guardrail."""

    name: str
    value: float | None
    """None: the query gave nothing."""
    samples: int | None
    """Requests behind the value; None: not counted."""
    at: float | None
    """Unix seconds of the value."""
    problem: str | None = None
    """Why the source could not be asked."""


@dataclass(frozen=True)
class Readings:
    """Everything that was measured, as of one look."""

    run: str | None = None
    """The run that the evidence belongs to."""
    as_of: float | None = None
    """Unix seconds at which the evidence was complete."""
    verdict: Verdict | None = None
    words: str = ""
    """The verdict in a sentence, with its numbers."""
    metrics: tuple[MetricReading, ...] = ()
    sample_ratio_p: float | None = None
    """Sequential p-value of the sample ratio."""
    stratum: int | None = None
    """The stratum that the unit counts below are of."""
    baseline_units: int = 0
    candidate_units: int = 0
    guardrails: tuple[GuardrailReading, ...] = ()
    problem: str | None = None
    """Why the evidence store could not be asked."""

    def metric(self, name: str) -> MetricReading | None:
        """The reading of that name."""
        return next((reading for reading in self.metrics if reading.name == name), None)

    def guardrail(self, name: str) -> GuardrailReading | None:
        """The reading of that name."""
        return next((reading for reading in self.guardrails if reading.name == name), None)
