"""What splits the traffic, behind three methods. A driver is one file with its test beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from model.errors import Fault
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.facts import ArmFacts, RouterFacts


class StaleWriteError(Fault):
    """The router has a later stratum than the one that was to be written: somebody else decides here now."""


@dataclass(frozen=True)
class Observation:
    """The arms and the router as they are; None inside for what could not be seen."""

    baseline: ArmFacts = field(default_factory=ArmFacts)
    candidate: ArmFacts = field(default_factory=ArmFacts)
    router: RouterFacts = field(default_factory=RouterFacts)
    problems: tuple[str, ...] = ()
    """Why these arms could not be split, whatever the weight: the driver checks for itself what an API server would
    accept and a controller would choke on."""


class Driver(Protocol):
    """One router and two arms. The router is the truth, the status a report (as Flagger's SetRoutes and GetRoutes)."""

    @property
    def assignment(self) -> Literal["Unit", "Request"]:
        """Whether a user stays on an arm, or every request is split anew."""

    async def observe(self) -> Observation:
        """What is there now, read back from where the traffic is split. Raises Fault where nothing answers."""

    async def set_weights(self, wanted: SetWeights) -> None:
        """One atomic write of weights, stratum and run, after which observe() tells them.

        Raises StaleWriteError where the router has a later stratum: the number fences off an operator that was replaced
        and does not know it. Raises Fault where the router cannot be written.
        """

    async def scale(self, wanted: Scale) -> None:
        """Set an arm's least number of replicas. Raises Fault."""
