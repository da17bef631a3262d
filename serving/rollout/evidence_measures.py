"""Measures of a rollout from the evidence store and a source of guardrails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from model.errors import Fault, UserError
from serving.experiment.analysis import analyse
from serving.experiment.document import ExperimentError
from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.judgement import Naming, design_of, readings_of
from serving.rollout.readings import GuardrailReading, Readings
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.spec_measures import Guardrail
from serving.rollout.state import State


class GuardrailSource(Protocol):
    """Where guardrails are read; PrometheusGuardrails and EnvoyGuardrails are such."""

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        """One reading for each; what goes wrong is a reading's problem."""


class EvidenceMeasures:
    """The measures of one rollout."""

    def __init__(
        self, store: AskedEvidence, identity: str, guardrails: GuardrailSource, now: Callable[[], float] = time.time
    ) -> None:
        """identity: Stored.identity, which names experiment and salt."""
        self._store = store
        self._identity = identity
        self._guardrails = guardrails
        self._now = now
        self._begun: tuple[str, int] | None = None
        """What this process knows to be registered."""

    async def begin(self, spec: ModelRolloutSpec, state: State) -> None:
        """Register the run and its present stratum. Raises Fault where the store does not answer or refuses."""
        if state.run is None or self._begun == (state.run.id, state.stratum):
            return
        start = self._now() if state.entered_at is None else state.entered_at
        try:
            design = design_of(spec, state.run, self._identity)
        except ExperimentError as error:
            raise Fault(f"evidence: {error}") from error
        await self._store.begin(design, state.stratum, start, state.weight / 100)
        self._begun = (state.run.id, state.stratum)

    async def read(self, spec: ModelRolloutSpec, state: State) -> Readings:
        """Evidence and guardrails of the state's run."""
        evidence, guardrails = await asyncio.gather(self._evidence(spec, state), self._guardrails.read(spec.guardrails))
        return replace(evidence, guardrails=guardrails)

    async def _evidence(self, spec: ModelRolloutSpec, state: State) -> Readings:
        if state.run is None:
            return Readings()
        name = Naming.of(spec, self._identity).experiment(state.run.id)
        try:
            evidence = await self._store.read(name, state.run.candidate)
            return await asyncio.to_thread(lambda: readings_of(analyse(evidence), evidence.exposed, state))
        except (Fault, UserError, ExperimentError) as error:
            return Readings(problem=" ".join(str(error).split())[:300])
