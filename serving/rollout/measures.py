"""What the rollout measures, behind two methods, and the models that it means, behind one."""

from __future__ import annotations

from typing import Protocol

from serving.rollout.readings import Readings
from serving.rollout.spec import ModelRolloutSpec, ModelSource
from serving.rollout.state import State


class Measures(Protocol):
    """Evidence store and guardrail sources of one rollout."""

    async def begin(self, spec: ModelRolloutSpec, state: State) -> None:
        """Register the state's run, and its stratum with its weight. Called at every look; costs nothing when it is
        done. Raises Fault."""

    async def read(self, spec: ModelRolloutSpec, state: State) -> Readings:
        """Everything measured of the state's run. What cannot be asked is a `problem` in the answer, never an error."""


class Models(Protocol):
    """Resolves what an arm's source means now."""

    async def digest(self, source: ModelSource) -> str | None:
        """Digest of the bundle; None: the registry does not answer, or knows no such model."""
