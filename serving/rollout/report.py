"""From a decision to the status that people read. Pure."""

from __future__ import annotations

import math
from typing import Literal

from serving.rollout.facts import ArmFacts
from serving.rollout.sight import look
from serving.rollout.spec_measures import Guardrail, Metric
from serving.rollout.state import TERMINAL, Reason, State
from serving.rollout.status import (
    ArmStatus,
    Condition,
    EvidenceStatus,
    GuardrailStatus,
    MetricStatus,
    ModelRolloutStatus,
    Steering,
)
from serving.rollout.view import View

DIGITS = 6
"""Significant digits of an estimate in the status: noise below them would only make writes."""
_MESSAGE = 4096


def report(
    view: View,
    hold: str | None,
    generation: int,
    assignment: Literal["Unit", "Request"] | None,
    before: tuple[Condition, ...],
) -> ModelRolloutStatus:
    """The whole status. view: the world at the decision, with the state after it."""
    state, facts, readings = view.state, view.facts, view.readings
    return ModelRolloutStatus.model_construct(
        **{name: getattr(state, name) for name in State.model_fields},
        observed_generation=generation,
        observed_weight=facts.router.weight,
        assignment=assignment,
        baseline=_arm(facts.baseline),
        candidate=_arm(facts.candidate),
        evidence=EvidenceStatus(
            as_of=readings.as_of if readings.as_of is not None and math.isfinite(readings.as_of) else None,
            verdict=_verdict(view),
            words=(readings.problem or readings.words)[:1024],
            sample_ratio_p_value=rounded(readings.sample_ratio_p),
            baseline_units=readings.baseline_units,
            candidate_units=readings.candidate_units,
        ),
        metrics=tuple(_metric(view, metric) for metric in view.spec.metrics),
        guardrails=tuple(_guardrail(view, guardrail) for guardrail in view.spec.guardrails),
        steering=_steering(view),
        conditions=_conditions(view, hold, generation, before),
    )


def rounded(value: float | None) -> float | None:
    """The value to DIGITS; None for what JSON has no word for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _arm(facts: ArmFacts) -> ArmStatus:
    return ArmStatus(ready=facts.ready, serving=tuple(sorted(facts.serving or ()))[:8])


def _verdict(view: View) -> Literal["Win", "Harm", "Inconclusive", "Invalid", "Unknown"]:
    if view.blind_evidence or view.readings.verdict is None:
        return "Unknown"
    match view.readings.verdict:
        case "win":
            return "Win"
        case "harm":
            return "Harm"
        case "invalid":
            return "Invalid"
        case _:
            return "Inconclusive"


def _metric(view: View, metric: Metric) -> MetricStatus:
    reading = view.readings.metric(metric.name)
    if reading is None:
        return MetricStatus(name=metric.name, role=metric.role, problem="missing")
    broken = any(math.isnan(value) for value in (reading.estimate or 0.0, reading.low, reading.high, reading.proof))
    return MetricStatus(
        name=metric.name,
        role=metric.role,
        estimate=rounded(reading.estimate),
        low=rounded(reading.low),
        high=rounded(reading.high),
        baseline_units=reading.baseline_units,
        candidate_units=reading.candidate_units,
        problem="not a number" if broken else None,
    )


def _guardrail(view: View, guardrail: Guardrail) -> GuardrailStatus:
    reading = view.readings.guardrail(guardrail.name)
    found = look(guardrail, reading, view.now)
    state: Literal["Holds", "Waiting", "Breached", "Blind"] = (
        "Blind" if found.fault else "Waiting" if found.waiting else "Breached" if found.breach else "Holds"
    )
    return GuardrailStatus(
        name=guardrail.name,
        state=state,
        value=rounded(reading.value) if reading else None,
        samples=reading.samples if reading else None,
        at=reading.at if reading and reading.at is not None and math.isfinite(reading.at) else None,
        message=(found.fault or found.waiting or found.breach or "")[:1024] or None,
    )


def _steering(view: View) -> Steering:
    spec, state = view.spec, view.state
    run = state.run.id if state.run else "none"
    ignored = []
    if spec.weight_override is not None and spec.weight_override.run != run:
        ignored.append(f"weightOverride is for run {spec.weight_override.run}; the present run is {run}")
    if spec.promote is not None and spec.promote != run:
        ignored.append(f"promote is for run {spec.promote}; the present run is {run}")
    alarm = state.alarm.id if state.alarm else "none"
    if spec.acknowledge is not None and spec.acknowledge != alarm:
        ignored.append(f"acknowledge is for alarm {spec.acknowledge}; the present alarm is {alarm}")
    if state.phase == "Succeeded":
        late = {"weightOverride": view.override is not None, "abort": spec.abort, "paused": spec.paused}
        ignored += [f"{name} came too late: run {run} has ended (Succeeded)" for name, wished in late.items() if wished]
    return Steering(
        paused=spec.paused,
        aborted=spec.abort,
        weight_override=view.override,
        promoted=spec.promote == run and state.phase in {"Promoting", "Succeeded"},
        acknowledged=state.alarm.id if state.alarm and state.alarm.acknowledged else None,
        ignored=tuple(ignored),
    )


def _conditions(view: View, hold: str | None, generation: int, before: tuple[Condition, ...]) -> tuple[Condition, ...]:
    state = view.state
    over = state.phase in TERMINAL
    degraded = (*view.breaches, *view.blind, *_alarmed(view))
    undue = state.phase in {"RollingBack", "RolledBack", "Failed"}
    found = (
        _ready(view),
        (
            "Progressing",
            not over and hold is None,
            "Held" if hold and not over else state.reason,
            hold or state.message,
        ),
        (
            "Degraded",
            undue or (not over and bool(degraded)),
            state.reason if undue else _degraded_reason(view) if degraded else "AsExpected",
            state.message if undue else "; ".join(degraded),
        ),
        ("Paused", view.spec.paused, "PausedByPerson" if view.spec.paused else "NotPaused", ""),
    )
    old = {each.type: each for each in before}
    return tuple(
        Condition(
            type=kind,
            status="True" if holds else "False",
            reason=reason,
            message=message[:_MESSAGE],
            last_transition_time=_since(old.get(kind), "True" if holds else "False", view.now),
            observed_generation=generation,
        )
        for kind, holds, reason, message in found
    )


def _ready(view: View) -> tuple[str, bool, Reason, str]:
    """Whether the router has what the rollout wants. A router that cannot be read now takes no model out."""
    state, router = view.state, view.facts.router
    if state.phase == "Succeeded" and router.weight is not None and not view.settled:
        told = f"the router has {router.weight} % of {f'run {router.run}' if router.run else 'no run'} now"
        return "Ready", False, "Superseded", f"{told}; this rollout had left it at {state.weight} %"
    return "Ready", state.phase == "Succeeded" or view.settled, state.reason, state.message


def _since(old: Condition | None, status: str, now: float) -> float:
    return old.last_transition_time if old is not None and old.status == status else now


def _alarmed(view: View) -> tuple[str, ...]:
    alarm = view.state.alarm
    return (f"sample ratio alarm {alarm.id}",) if alarm is not None and not alarm.acknowledged else ()


def _degraded_reason(view: View) -> Reason:
    return "GuardrailBreached" if view.breaches else "Blind" if view.blind else "SampleRatioBroken"
