"""The rollout's measures on a real evidence store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from model.errors import Fault
from serving.evidence.engine import open_engine
from serving.evidence.migration import migrate
from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.evidence_measures import EvidenceMeasures
from serving.rollout.evidence_store import DatabaseEvidence, HttpEvidence
from serving.rollout.readings import GuardrailReading
from serving.rollout.spec_measures import Guardrail
from serving.rollout.state import Run, State, run_id
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, START, spec_with

IDENTITY = "feed.01234567"
SPEC = spec_with()
RUN = Run(id=run_id(BASELINE, CANDIDATE, 1), baseline=BASELINE, candidate=CANDIDATE, attempt=1, started_at=START)
STATE = State(phase="Ramping", run=RUN, weight=20, stratum=2, entered_at=START)


class Silent:
    """No guardrail source."""

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        return ()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = open_engine(f"sqlite:///{tmp_path / 'evidence.db'}")
    migrate(made)
    return made


def measures(engine: Engine, now: float = START) -> EvidenceMeasures:
    return EvidenceMeasures(AskedEvidence(DatabaseEvidence(engine, lambda: now)), IDENTITY, Silent(), lambda: now)


def test_a_run_that_was_never_registered_is_a_problem_and_no_error(engine: Engine) -> None:
    readings = asyncio.run(measures(engine).read(SPEC, STATE))
    assert readings.problem is not None
    assert IDENTITY in readings.problem


def test_a_registered_run_is_read_as_inconclusive_at_once(engine: Engine) -> None:
    async def run() -> None:
        edge = measures(engine)
        await edge.begin(SPEC, STATE)
        readings = await edge.read(SPEC, STATE)
        assert (readings.problem, readings.verdict, readings.run) == (None, "inconclusive", RUN.id)
        assert readings.as_of == pytest.approx(START)

    asyncio.run(run())


def test_registering_again_is_harmless_even_after_the_clock_was_set(engine: Engine) -> None:
    async def run() -> None:
        await measures(engine).begin(SPEC, STATE)
        await measures(engine).begin(SPEC, STATE)
        await measures(engine).begin(SPEC, STATE.model_copy(update={"entered_at": START + 7}))
        with pytest.raises(Fault, match="a changed weight is a new phase"):
            await measures(engine).begin(SPEC, STATE.model_copy(update={"weight": 50}))

    asyncio.run(run())


def test_an_experiment_cannot_be_changed_under_its_name(engine: Engine) -> None:
    async def run() -> None:
        await measures(engine).begin(SPEC, STATE)
        with pytest.raises(Fault, match="another alpha"):
            await measures(engine).begin(spec_with(analysis={"alpha": 0.1}), STATE)

    asyncio.run(run())


def test_a_store_that_does_not_answer_is_a_problem_of_the_reading_and_a_fault_of_the_registration() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    client = httpx.Client(base_url="http://evidence", transport=httpx.MockTransport(refuse))
    edge = EvidenceMeasures(AskedEvidence(HttpEvidence(client)), IDENTITY, Silent(), lambda: START)
    assert "does not answer" in str(asyncio.run(edge.read(SPEC, STATE)).problem)
    with pytest.raises(Fault, match="does not answer"):
        asyncio.run(edge.begin(SPEC, STATE))
