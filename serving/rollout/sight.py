"""Whether a measure can be seen at all, and what a guardrail says: missing, stale or not a number is never a pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.rollout.readings import GuardrailReading, Readings
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.spec_measures import Guardrail

FUTURE_S = 60.0
"""A reading from further ahead than this is from another clock and says nothing."""


@dataclass(frozen=True)
class Look:
    """What one look at a guardrail gives: a fault, a wait for data, a breach, or nothing of these: it holds."""

    fault: str | None = None
    """It cannot be read."""
    waiting: str | None = None
    """It has too few requests to speak."""
    breach: str | None = None
    """It is broken, with the numbers."""


def look(guardrail: Guardrail, reading: GuardrailReading | None, now: float) -> Look:
    """Judge one reading. Fewer requests than `minRequests` neither pass nor breach."""
    if reading is None:
        return Look(fault="missing")
    fault = _fault(guardrail, reading, now)
    if fault is not None:
        return Look(fault=fault)
    counted = guardrail.type != "PromQL" or guardrail.count_query is not None
    if counted and reading.samples is None:
        return Look(fault="the number of requests is unknown")
    if reading.samples is not None and reading.samples < guardrail.min_requests:
        return Look(waiting=f"guardrail {guardrail.name} has {reading.samples} of {guardrail.min_requests} requests")
    if reading.value is None or not math.isfinite(reading.value):
        return Look(fault=f"the value is {reading.value}")
    return Look(breach=_breach(guardrail, reading, reading.value))


def _fault(guardrail: Guardrail, reading: GuardrailReading, now: float) -> str | None:
    if reading.problem is None and reading.value is None and not _dated(reading.at):
        return _NOTHING.get(guardrail.type, "it has no value yet")
    return reading.problem or age_fault(reading.at, now, guardrail.stale_seconds)


_NOTHING = {"PromQL": "the query answers no series: nothing of that name was scraped, or nothing came yet"}


def _dated(at: float | None) -> bool:
    return at is not None and math.isfinite(at)


def _breach(guardrail: Guardrail, reading: GuardrailReading, value: float) -> str | None:
    over = "" if reading.samples is None else f" over {reading.samples} requests"
    if guardrail.max is not None and value > guardrail.max:
        return f"guardrail {guardrail.name} is {value:.6g}{over}, above {guardrail.max:.6g}"
    if guardrail.min is not None and value < guardrail.min:
        return f"guardrail {guardrail.name} is {value:.6g}{over}, below {guardrail.min:.6g}"
    return None


def evidence_faults(spec: ModelRolloutSpec, readings: Readings, run: str | None, now: float) -> tuple[str, ...]:
    """Why the evidence says nothing now; empty when every metric of the spec is there, fresh and of this run."""
    if readings.problem is not None:
        return (f"evidence: {readings.problem}",)
    if run is None or readings.run != run:
        return (f"evidence is of run {readings.run}, not {run}",)
    stale = age_fault(readings.as_of, now, spec.analysis.stale_seconds)
    if stale is not None:
        return (f"evidence is {stale}",)
    found = []
    if readings.sample_ratio_p is None or math.isnan(readings.sample_ratio_p):
        found.append("the sample ratio is unknown")
    for metric in spec.metrics:
        reading = readings.metric(metric.name)
        if reading is None:
            found.append(f"metric {metric.name} is missing")
        elif any(math.isnan(value) for value in (reading.estimate or 0.0, reading.low, reading.high, reading.proof)):
            found.append(f"metric {metric.name} is not a number")
    if readings.verdict is None:
        found.append("there is no verdict")
    return tuple(found)


def age_fault(at: float | None, now: float, limit_s: float) -> str | None:
    """Why a reading of that moment is too old or too new; None: it is fresh."""
    if at is None or not _dated(at):
        return "of unknown age"
    if at - now > FUTURE_S:
        return f"from {at - now:.0f} s ahead"
    if now - at > limit_s:
        return f"{now - at:.0f} s old, more than {limit_s:.0f} s"
    return None
