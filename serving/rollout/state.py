"""What a rollout remembers from one decision to the next. It lives in the resource's status and nowhere else."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, StringConstraints

from serving.rollout.resource import Part, Time
from serving.rollout.spec import Digest, RunId

Phase: TypeAlias = Literal[
    "Pending", "Validating", "Ramping", "Paused", "Promoting", "Succeeded", "RollingBack", "RolledBack", "Failed"
]
TERMINAL: frozenset[Phase] = frozenset({"Succeeded", "RolledBack", "Failed"})
UNDER_TRAFFIC: frozenset[Phase] = frozenset({"Ramping", "Paused", "Promoting"})
"""Phases in which the candidate is meant to have traffic."""

HISTORY = 50
"""Transitions that the status keeps."""

Reason = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)]
Sentence = Annotated[str, StringConstraints(max_length=1024)]
Percent = Annotated[int, Field(ge=0, le=100)]


class Run(Part):
    """One comparison of two pinned models. Another digest on either side, or another attempt, is another run."""

    id: RunId
    baseline: Digest
    candidate: Digest
    attempt: int = Field(ge=1)
    started_at: Time
    """When the ramp began; before that, when the run did."""


def run_id(baseline: str, candidate: str, attempt: int) -> str:
    """The name by which people and evidence mean a run; what `promote` and `weightOverride` must quote."""
    return f"{baseline[:12]}-{candidate[:12]}-{attempt}"


def candidate_of(run: str) -> str | None:
    """The first digits of the candidate's digest in a run's id; None for what is no such id."""
    parts = run.split("-")
    return parts[1] if len(parts) == 3 and len(parts[1]) == 12 else None


class Alarm(Part):
    """A broken sample ratio. It stays until a person acknowledges it by its id."""

    id: Annotated[str, StringConstraints(max_length=80)]
    p_value: float
    raised_at: Time
    acknowledged: bool = False


class Transition(Part):
    """One line of the history."""

    seq: int = Field(ge=1)
    """Counts the transitions of this resource; the Event's name is made of it."""
    at: Time
    origin: Phase
    target: Phase
    step: int
    weight: Percent
    """Candidate's percent after the transition."""
    reason: Reason
    message: Sentence
    """Why, with the numbers."""


class State(Part):
    """What decide() reads and returns."""

    # An older operator must be able to read what a newer one left.
    model_config = ConfigDict(extra="ignore")

    phase: Phase = "Pending"
    run: Run | None = None
    step: int = Field(default=0, ge=0)
    """Place in `spec.steps`, from 0."""
    weight: Percent = 0
    """Percent of the units that the candidate is to have."""
    stratum: int = Field(default=0, ge=0)
    """Counts the weights of this resource: the evidence's phase, never used twice."""
    entered_at: Time | None = None
    """When phase, step or weight last changed."""
    confirmed_at: Time | None = None
    """When the router was first seen to have `weight`."""
    blind_since: Time | None = None
    """Since when some measure cannot be read."""
    overridden: bool = False
    """`weight` was set by a person."""
    alarm: Alarm | None = None
    ending: Literal["RolledBack", "Failed"] | None = None
    """Where RollingBack leads."""
    reason: Reason = "Created"
    message: Sentence = ""
    seq: int = Field(default=0, ge=0)
    announced: int = Field(default=0, ge=0)
    """Transitions up to this one have their Event."""
    given_up: tuple[RunId, ...] = Field(default=(), max_length=HISTORY)
    """Runs that were rolled back, latest last. None begins again when an alias comes back to its pair."""
    history: tuple[Transition, ...] = Field(default=(), max_length=HISTORY)
