"""The way to the evidence when there is nobody at its end."""

from __future__ import annotations

import contextlib
import socket

import httpx
import pytest

from model.errors import Fault
from serving.rollout import evidence_store
from serving.rollout.evidence_store import HttpEvidence


def test_a_service_that_hangs_is_waited_for_once_and_not_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_store, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung, httpx.Client(trust_env=False) as client:
        client.base_url = httpx.URL(f"http://127.0.0.1:{hung.getsockname()[1]}")
        evidence = HttpEvidence(client)
        with pytest.raises(Fault, match="does not answer"):
            evidence.read("feed.1", "0" * 64)
        for _ in range(3):
            with pytest.raises(Fault, match=r"did not answer within 0\.2 s, and is asked later"):
                evidence.read("feed.1", "0" * 64)
        hung.setblocking(False)
        asked = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                hung.accept()[0].close()
                asked += 1
    assert asked == 1


def test_a_service_that_is_away_is_asked_again_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for _ in range(2):
            with pytest.raises(Fault, match="does not answer: ConnectError"):
                HttpEvidence(client).read("feed.1", "0" * 64)
