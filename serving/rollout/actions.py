"""What decide() wants done, in the order in which it is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from serving.gateway.assignment import Arm
from serving.rollout.state import State, Transition


@dataclass(frozen=True)
class SetWeights:
    """One write to the router."""

    candidate: int
    """Percent; the baseline has the rest, so that the two are 100 at every instant."""
    stratum: int
    run: str

    @property
    def baseline(self) -> int:
        """Percent of the baseline."""
        return 100 - self.candidate


@dataclass(frozen=True)
class Scale:
    """Least number of replicas of an arm."""

    arm: Arm
    replicas: int


@dataclass(frozen=True)
class Persist:
    """Write the state into the status, on the version of the resource that was read."""

    state: State


@dataclass(frozen=True)
class Announce:
    """One Event. Its name is made of the transition's number, so that a second one is the same one."""

    transition: Transition
    warning: bool


@dataclass(frozen=True)
class Release:
    """Let the resource be deleted."""


Action: TypeAlias = SetWeights | Scale | Persist | Announce | Release


@dataclass(frozen=True)
class Decision:
    """The state after, and what to do for it."""

    state: State
    actions: tuple[Action, ...] = ()
    hold: str | None = None
    """Why the ramp does not go on at this moment."""
