"""The way to the evidence when there is nobody at its end."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx
import pytest

from model.errors import Fault
from serving.evidence.engine import open_engine
from serving.rollout import asked_evidence
from serving.rollout.asked_evidence import QUESTIONS, AskedEvidence
from serving.rollout.evidence_measures import EvidenceMeasures
from serving.rollout.evidence_store import DatabaseEvidence, EvidenceStore, HttpEvidence
from serving.rollout.readings import GuardrailReading
from serving.rollout.spec_measures import Guardrail
from tests.serving.rollout.test_evidence_measures import IDENTITY, SPEC, STATE

BREACH = (GuardrailReading("errors", 0.5, 100, 1000.0),)


class Breached:
    """A guardrail source that answers at once."""

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        return BREACH


@pytest.mark.parametrize("kind", ["database", "service"])
def test_evidence_that_hangs_is_waited_for_once_and_guardrails_are_read(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_evidence, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung, httpx.Client(trust_env=False) as client:
        place = f"127.0.0.1:{hung.getsockname()[1]}"
        client.base_url = httpx.URL(f"http://{place}")
        store: EvidenceStore = HttpEvidence(client)
        if kind == "database":
            store = DatabaseEvidence(open_engine(f"postgresql://nobody@{place}/none", answer_s=3))
        shared = AskedEvidence(store)

        async def looks() -> list[str | None]:
            readings = []
            for _ in range(3):  # three rollouts
                read = EvidenceMeasures(shared, IDENTITY, Breached()).read(SPEC, STATE)
                async with asyncio.timeout(2):  # the database's own bound is 3 s
                    readings.append(await read)
            assert all(each.guardrails == BREACH for each in readings)
            with pytest.raises(Fault, match="asked again later"):
                await EvidenceMeasures(shared, IDENTITY, Breached()).begin(SPEC, STATE)
            return [each.problem for each in readings]

        first, *later = asyncio.run(looks())
    assert first == "evidence: no answer within 0.2 s"
    assert later == ["evidence: no answer within 0.2 s; asked again later"] * 2


def test_questions_that_hang_take_no_thread_from_anybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_evidence, "ANSWER_S", 0.1)
    released = threading.Event()

    class Hung(DatabaseEvidence):
        def __init__(self) -> None:
            self.asked = 0

        def read(self, experiment: str, candidate: str):  # type: ignore[no-untyped-def]
            self.asked += 1
            released.wait(30)
            raise Fault("late")

    async def run() -> None:
        store = Hung()
        shared = AskedEvidence(store)
        try:
            async with asyncio.timeout(10):
                reads = [shared.read("feed.1", "0" * 64) for _ in range(40)]
                told = await asyncio.gather(*reads, return_exceptions=True)
                assert {str(each) for each in told} == {"evidence: no answer within 0.1 s"}
                assert await asyncio.to_thread(lambda: "free") == "free"
            assert store.asked == QUESTIONS
        finally:
            released.set()

    asyncio.run(run())


def test_a_service_that_is_away_is_asked_again_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        shared = AskedEvidence(HttpEvidence(client))

        async def run() -> None:
            for _ in range(2):
                with pytest.raises(Fault, match="does not answer: ConnectError"):
                    await shared.read("feed.1", "0" * 64)

        asyncio.run(run())
