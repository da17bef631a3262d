"""The driver that is not here: says why, and moves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.errors import Fault
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.driver import Observation


@dataclass(frozen=True)
class AbsentDriver:
    """Of a rollout whose router this process cannot reach."""

    problem: str

    @property
    def assignment(self) -> Literal["Unit", "Request"]:
        """Nobody is assigned."""
        return "Unit"

    async def observe(self) -> Observation:
        """Nothing is known but the problem."""
        return Observation(problems=(self.problem,))

    async def set_weights(self, wanted: SetWeights) -> None:
        """Raises Fault."""
        raise Fault(f"{wanted.candidate} % cannot be written: {self.problem}")

    async def scale(self, wanted: Scale) -> None:
        """Raises Fault."""
        raise Fault(f"{wanted.arm} cannot be scaled: {self.problem}")
