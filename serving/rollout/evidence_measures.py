"""Measures of a rollout from the evidence store's database and a source of guardrails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from model.errors import Fault, MgoeError
from serving.evidence import experiment_store
from serving.evidence.engine import writing
from serving.evidence.event import SECOND
from serving.evidence.readout import read_evidence
from serving.evidence.registration import PhaseStart, register, start_phase
from serving.experiment.analysis import analyse
from serving.experiment.document import ExperimentError
from serving.rollout.judgement import design_of, experiment_of, readings_of
from serving.rollout.readings import GuardrailReading, Readings
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.spec_measures import Guardrail
from serving.rollout.state import State


class GuardrailSource(Protocol):
    """Where guardrails are read; PrometheusGuardrails is one."""

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        """One reading for each; what goes wrong is a reading's problem."""


class EvidenceMeasures:
    """The measures of one rollout."""

    def __init__(
        self, engine: Engine, identity: str, guardrails: GuardrailSource, now: Callable[[], float] = time.time
    ) -> None:
        """identity: Stored.identity, which names experiment and salt."""
        self._engine = engine
        self._identity = identity
        self._guardrails = guardrails
        self._now = now
        self._begun: tuple[str, int] | None = None
        """What this process knows to be registered."""

    async def begin(self, spec: ModelRolloutSpec, state: State) -> None:
        """Register the run and its present stratum. Raises Fault where the database does not answer or refuses."""
        await asyncio.to_thread(self._begin, spec, state)

    def _begin(self, spec: ModelRolloutSpec, state: State) -> None:
        if state.run is None or self._begun == (state.run.id, state.stratum):
            return
        now = self._now()
        try:
            design = design_of(spec, state.run, self._identity)
            start = PhaseStart(
                experiment=design.experiment,
                phase=state.stratum,
                start_us=round((now if state.entered_at is None else state.entered_at) * SECOND),
                candidate_weight=state.weight / 100,
                baseline_digest=state.run.baseline,
                candidate_digest=state.run.candidate,
            )
            with writing(self._engine) as connection:
                register(connection, design, {}, round(now * SECOND))
                known = experiment_store.lock_one(connection, design.experiment).catalogue.phases.get(state.stratum)
                # Its beginning may have been read off another clock since; its weight may not change.
                if known is None or known.candidate_weight != start.candidate_weight:
                    start_phase(connection, start)
        except (MgoeError, ExperimentError, SQLAlchemyError) as error:
            raise Fault(f"evidence: {_line(error)}") from error
        self._begun = (state.run.id, state.stratum)

    async def read(self, spec: ModelRolloutSpec, state: State) -> Readings:
        """Evidence and guardrails of the state's run."""
        evidence, guardrails = await asyncio.gather(
            asyncio.to_thread(self._evidence, state), self._guardrails.read(spec.guardrails)
        )
        return replace(evidence, guardrails=guardrails)

    def _evidence(self, state: State) -> Readings:
        if state.run is None:
            return Readings()
        name = experiment_of(self._identity, state.run)
        try:
            evidence = read_evidence(self._engine, name, round(self._now() * SECOND), state.run.candidate)
            return readings_of(analyse(evidence), evidence.exposed, state)
        except (MgoeError, ExperimentError, SQLAlchemyError) as error:
            return Readings(problem=_line(error))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
