"""What decide() is told of the cluster, or of the machine: the arms, the router's truth, the models that are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serving.gateway.assignment import Arm


@dataclass(frozen=True)
class ArmFacts:
    """One arm as it is."""

    ready: int | None = None
    """Replicas that are ready; None: unknown."""
    floor: int | None = None
    """Least number of replicas that is asked for; None: unknown, or not ours to set."""
    serving: frozenset[str] | None = None
    """Digests that the ready replicas serve; None: unknown."""
    lowest: int = 0
    """Whatever is asked for, the floor does not go below this: an autoscaler keeps one replica."""


@dataclass(frozen=True)
class RouterFacts:
    """The split as the router has it, not as it was asked for."""

    weight: int | None = None
    """Candidate's percent; None: unknown."""
    stratum: int | None = None
    """The stratum that was written with it; None: nobody wrote one."""
    run: str | None = None
    """The run that was written with it."""
    owner: Literal["self", "other", "nobody"] = "nobody"
    """Who wrote it: this rollout, another one that is still going on, or nobody who still cares."""


@dataclass(frozen=True)
class Facts:
    """Everything that is not measured but simply so."""

    baseline: ArmFacts = ArmFacts()
    candidate: ArmFacts = ArmFacts()
    router: RouterFacts = RouterFacts()
    baseline_digest: str | None = None
    """The model that the spec means now, alias resolved; None: it cannot be resolved at the moment."""
    candidate_digest: str | None = None
    problems: tuple[str, ...] = ()
    """Why the driver could not split these arms."""
    deleted_at: float | None = None
    """Unix seconds of the wish to delete the resource."""

    def arm(self, arm: Arm) -> ArmFacts:
        """The facts of an arm."""
        return self.baseline if arm == "baseline" else self.candidate


@dataclass(frozen=True)
class Clock:
    """The time of a decision."""

    now: float
    """Unix seconds."""
    jumped: float = 0.0
    """Seconds by which the wall clock moved more than time went by since this process last decided."""
