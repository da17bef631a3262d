"""One rollout as its page shows it: everything that is said in words and numbers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.console.attention import Notice, notices
from serving.console.person import Person
from serving.console.ramp import Progress, Rung, next_words, progress, rungs, state_words
from serving.console.wish import Sight, Wish, offers, verdict_words
from serving.console.words import lift, number
from serving.rollout.spec_measures import Guardrail, Metric
from serving.rollout.status import GuardrailStatus, MetricStatus, ModelRolloutStatus

GUARDRAIL_SIGNS = {"Holds": ("✓", "good"), "Waiting": ("…", "calm"), "Breached": ("✕", "bad"), "Blind": ("?", "warn")}


@dataclass(frozen=True)
class GuardrailLine:
    """A guardrail with its bounds and its last value."""

    name: str
    what: str
    bounds: str
    value: str
    state: str
    sign: str
    tone: str
    samples: int | None
    needed: int
    message: str
    share: float | None
    """The value's part of the upper bound in percent, at most 150; None: nothing to draw."""


@dataclass(frozen=True)
class MetricLine:
    """A metric as the controller last reported it."""

    name: str
    role: str
    effect: str
    interval: str
    bound: str
    """What it is judged by."""
    units: tuple[int, int]
    problem: str


@dataclass(frozen=True)
class Button:
    """A wish that a person may make."""

    wish: Wish
    unfit: str | None


@dataclass(frozen=True)
class RolloutView:
    """Everything above the charts."""

    sight: Sight
    now: float
    notices: tuple[Notice, ...]
    rungs: tuple[Rung, ...]
    progress: tuple[Progress, ...]
    state_words: str
    next_words: str
    held: str | None
    guardrails: tuple[GuardrailLine, ...]
    metrics: tuple[MetricLine, ...]
    buttons: tuple[Button, ...]

    @property
    def verdict_words(self) -> str:
        """What the verdict rests on."""
        return verdict_words(self.sight.status)

    @property
    def status(self) -> ModelRolloutStatus:
        """As the controller wrote it."""
        return self.sight.status


def view_of(sight: Sight, person: Person, now: float) -> RolloutView:
    """The view of a rollout for a person."""
    status = sight.status
    progressing = status.condition("Progressing")
    held = progressing is not None and progressing.status == "False" and not sight.over
    return RolloutView(
        sight=sight,
        now=now,
        notices=notices(sight, now),
        rungs=rungs(sight),
        progress=progress(sight, now),
        state_words=state_words(sight),
        next_words=next_words(sight),
        held=progressing.message if held and progressing is not None else None,
        guardrails=_guardrails(sight),
        metrics=tuple(_metric(metric, sight) for metric in status.metrics),
        buttons=tuple(Button(wish, unfit) for wish, unfit in offers(sight)) if person.steers else (),
    )


def _guardrails(sight: Sight) -> tuple[GuardrailLine, ...]:
    found: Mapping[str, GuardrailStatus] = {each.name: each for each in sight.status.guardrails}
    return tuple(_guardrail(spec, found.get(spec.name)) for spec in sight.spec.guardrails)


def _guardrail(spec: Guardrail, status: GuardrailStatus | None) -> GuardrailLine:
    state = status.state if status else "Waiting"
    sign, tone = GUARDRAIL_SIGNS[state]
    value = status.value if status else None
    whats = {"ErrorRate": "share of failed answers", "P99": "99th percentile of latency, ms", "PromQL": "PromQL"}
    return GuardrailLine(
        name=spec.name,
        what=whats[spec.type],
        bounds=_bounds(spec),
        value=f"{value:.3%}" if spec.type == "ErrorRate" and value is not None else number(value),
        state=state,
        sign=sign,
        tone=tone,
        samples=status.samples if status else None,
        needed=spec.min_requests,
        message=(status.message if status else None) or "",
        share=_share(spec, value),
    )


def _bounds(spec: Guardrail) -> str:
    def shown(value: float) -> str:
        return f"{value:.2%}" if spec.type == "ErrorRate" else number(value)

    ends = [f"at least {shown(spec.min)}" if spec.min is not None else ""]
    ends += [f"at most {shown(spec.max)}" if spec.max is not None else ""]
    return ", ".join(end for end in ends if end)


def _share(spec: Guardrail, value: float | None) -> float | None:
    if value is None or spec.max is None or spec.max <= 0 or spec.min is not None:
        return None
    return max(0.0, min(150.0, 100 * value / spec.max))


def _not_inferior(spec: Metric | None) -> str:
    if spec is None:
        return "must not suffer"
    return f"must not {'fall' if spec.better == 'Higher' else 'rise'} by more than {spec.margin:.2%}"


def _metric(metric: MetricStatus, sight: Sight) -> MetricLine:
    spec = next((each for each in sight.spec.metrics if each.name == metric.name), None)
    roles: Mapping[Literal["Primary", "NonInferior", "Secondary"], str] = {
        "Primary": f"must be better: interval {'below' if spec and spec.better == 'Lower' else 'above'} 0",
        "NonInferior": _not_inferior(spec),
        "Secondary": "is only looked at",
    }
    unbounded = metric.low is None and metric.high is None
    return MetricLine(
        name=metric.name,
        role=metric.role,
        effect="not yet" if metric.estimate is None else lift(metric.estimate),
        interval="unbounded" if unbounded else f"{lift(metric.low)} to {lift(metric.high)}",
        bound=roles[metric.role],
        units=(metric.baseline_units, metric.candidate_units),
        problem=metric.problem or "",
    )
