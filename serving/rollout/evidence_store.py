"""Where a rollout's evidence is: the store's database, or its HTTP service."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from model.errors import Fault, MgoeError
from serving.evidence import experiment_store
from serving.evidence.engine import writing
from serving.evidence.event import SECOND
from serving.evidence.readout import read_evidence
from serving.evidence.registration import PhaseStart, register, start_phase
from serving.experiment.design import Design
from serving.experiment.document import ExperimentError
from serving.experiment.evidence import ExperimentEvidence

TIMEOUT_S = 3.0


class EvidenceStore(Protocol):
    """Two calls; both block, and raise Fault with one line."""

    def begin(self, design: Design, phase: int, start: float, weight: float) -> None:
        """Register a run and a phase of it. Again: nothing, whatever the start. start: unix seconds; weight: 0..1."""

    def read(self, experiment: str, candidate: str) -> ExperimentEvidence:
        """The evidence of a candidate's run, as of now."""


class DatabaseEvidence:
    """The store's own database, without a service between."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now

    def begin(self, design: Design, phase: int, start: float, weight: float) -> None:
        """Register a run and a phase of it."""
        wanted = PhaseStart(
            experiment=design.experiment,
            phase=phase,
            start_us=round(start * SECOND),
            candidate_weight=weight,
            baseline_digest=design.baseline_digest,
            candidate_digest=design.candidate_digest,
        )
        try:
            with writing(self._engine) as connection:
                register(connection, design, {}, round(self._now() * SECOND))
                known = experiment_store.lock_one(connection, design.experiment).catalogue.phases.get(phase)
                # Its beginning may have been read off another clock since; its weight may not change.
                if known is None or known.candidate_weight != weight:
                    start_phase(connection, wanted)
        except (MgoeError, ExperimentError, SQLAlchemyError) as error:
            raise Fault(f"evidence: {_line(error)}") from error

    def read(self, experiment: str, candidate: str) -> ExperimentEvidence:
        """The evidence of a candidate's run."""
        try:
            return read_evidence(self._engine, experiment, round(self._now() * SECOND), candidate)
        except (MgoeError, ExperimentError, SQLAlchemyError) as error:
            raise Fault(f"evidence: {_line(error)}") from error


class _RefusedError(Fault):
    """The service answered, and not with what was asked for."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class HttpEvidence:
    """The evidence service."""

    def __init__(self, client: httpx.Client) -> None:
        """client: with the service's address as its base_url, and a token of the roles admin and read."""
        self._client = client

    def begin(self, design: Design, phase: int, start: float, weight: float) -> None:
        """Register a run and a phase of it."""
        self._asked("POST", "/v1/experiments", {"design": design.to_json()})
        wanted = {
            "phase": phase,
            "start": start,
            "candidate_weight": weight,
            "baseline_digest": design.baseline_digest,
            "candidate_digest": design.candidate_digest,
        }
        try:
            self._asked("POST", f"/v1/experiments/{quote(design.experiment)}/phases", wanted)
        except _RefusedError as error:
            # Its beginning may have been read off another clock since; its weight may not change.
            if error.status != 409 or f"registered with weight {weight:g} from" not in str(error):
                raise

    def read(self, experiment: str, candidate: str) -> ExperimentEvidence:
        """The evidence of a candidate's run."""
        path = f"/v1/experiments/{quote(experiment)}/evidence?candidate={quote(candidate)}"
        try:
            return ExperimentEvidence.from_json(self._asked("GET", path, None))
        except ExperimentError as error:
            raise Fault(f"evidence: {_line(error)}") from error

    def _asked(self, method: str, path: str, content: object) -> Any:
        """The JSON of an answer."""
        try:
            answer = self._client.request(method, path, json=content, timeout=TIMEOUT_S)
            document = answer.json()
        except httpx.HTTPError as error:
            raise Fault(f"evidence: {self._client.base_url} does not answer: {error!r}") from error
        except ValueError as error:
            raise Fault(f"evidence: {self._client.base_url} answers {answer.status_code} without JSON") from error
        if answer.is_success:
            return document
        told = document.get("error") if isinstance(document, dict) else document
        raise _RefusedError(answer.status_code, f"evidence: {told} ({answer.status_code})")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
