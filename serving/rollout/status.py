"""`status` of a ModelRollout: what decide() remembers, and what people read. Rendered into the CRD like the spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from serving.rollout.resource import Part, Time, list_map
from serving.rollout.state import Percent, Reason, Sentence, State, Transition

Name = Annotated[str, StringConstraints(max_length=63)]


class Condition(Part):
    """A condition in Kubernetes' form (metav1.Condition)."""

    type: Annotated[str, StringConstraints(max_length=63)]
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: Annotated[str, StringConstraints(max_length=4096)] = ""
    last_transition_time: Time
    observed_generation: int = Field(ge=0)


class MetricStatus(Part):
    """A metric's relative effect with its always-valid interval; a bound that is not there yet is left out."""

    name: Name
    role: Literal["Primary", "NonInferior", "Secondary"]
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    baseline_units: int = 0
    candidate_units: int = 0
    problem: Sentence | None = None
    """Why the metric cannot be seen."""


class GuardrailStatus(Part):
    """A guardrail's last value."""

    name: Name
    state: Literal["Holds", "Waiting", "Breached", "Blind"]
    value: float | None = None
    samples: int | None = None
    at: Time | None = None
    message: Sentence | None = None


class EvidenceStatus(Part):
    """What the evidence says, as of one moment."""

    as_of: Time | None = None
    verdict: Literal["Win", "Harm", "Inconclusive", "Invalid", "Unknown"] = "Unknown"
    words: Sentence = ""
    sample_ratio_p_value: float | None = None
    baseline_units: int = 0
    """At the present weight."""
    candidate_units: int = 0


class ArmStatus(Part):
    """One arm as it is."""

    ready: int | None = None
    """Replicas."""
    serving: tuple[Annotated[str, StringConstraints(max_length=64)], ...] = Field(default=(), max_length=8)
    """Digests that the ready replicas serve."""


class Steering(Part):
    """Which of a person's wishes are in force, so that a wish that was not taken up is seen."""

    paused: bool = False
    aborted: bool = False
    weight_override: Percent | None = None
    promoted: bool = False
    acknowledged: Annotated[str, StringConstraints(max_length=80)] | None = None
    ignored: tuple[Sentence, ...] = Field(default=(), max_length=8)
    """Wishes that mean another run or alarm, each with the name that would be right."""


class ModelRolloutStatus(State):
    """State and report in one: nothing else is needed to go on after a restart."""

    observed_generation: int = Field(default=0, ge=0)
    """Generation of the spec that the last decision saw."""
    observed_weight: Percent | None = None
    """Candidate's percent as the router has it; absent: it cannot be read."""
    assignment: Literal["Unit", "Request"] | None = None
    """Whether users stay on their arm, or every request is split anew."""
    baseline: ArmStatus = ArmStatus()
    candidate: ArmStatus = ArmStatus()
    evidence: EvidenceStatus = EvidenceStatus()
    metrics: tuple[MetricStatus, ...] = Field(default=(), max_length=20)
    guardrails: tuple[GuardrailStatus, ...] = Field(default=(), max_length=20)
    steering: Steering = Steering()
    conditions: tuple[Condition, ...] = Field(default=(), max_length=8, json_schema_extra=list_map("type"))

    def state(self) -> State:
        """The part that decide() reads."""
        return State.model_construct(**{name: getattr(self, name) for name in State.model_fields})

    def promotion(self) -> Transition | None:
        """The transition by which the present run was promoted, with the verdict of that moment; None: it was not."""
        if self.phase not in {"Promoting", "Succeeded"}:
            return None
        begun = (each for each in reversed(self.history) if each.target == "Promoting" != each.origin)
        return next(begun, None)

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type."""
        return next((each for each in self.conditions if each.type == kind), None)
