"""A few rankings straight to the rankers before users come: the first ones of a process take many times as long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from model.errors import Fault
from serving.traffic.click_model import ClickModelConfig
from serving.traffic.load import LoadOptions, prepare

REQUESTS = 40
"""To each ranker."""
LIMIT_S = 60.0
"""A ranker that still refuses one of them after so long is broken."""
_TIMEOUT_S = 10.0


def warm_up(log: Path, rankers: Sequence[str]) -> None:
    """rankers: addresses. They are asked without the gateway, so that nothing of it is evidence.

    Raises Fault where one cannot be reached, or does not rank in time.
    """
    plan, call = prepare(LoadOptions(log=log, gateway=rankers[0], click_model=ClickModelConfig(), extras=30))
    bodies = [call.body(plan.visits.visit(number), f"warm-{number}") for number in range(REQUESTS)]
    headers = {"content-type": "application/json"}
    with httpx.Client(timeout=_TIMEOUT_S, trust_env=False, headers=headers) as client:
        for ranker in rankers:
            deadline = time.monotonic() + LIMIT_S
            for body in bodies:
                _rank(client, f"{ranker}{call.path}", body, deadline)


def _rank(client: httpx.Client, address: str, body: bytes, deadline: float) -> None:
    """Until it is answered well: the very first requests may take longer than a ranker gives them."""
    while True:
        try:
            answer = client.post(address, content=body)
        except httpx.HTTPError as error:
            raise Fault(f"ranker {address} does not answer: {error or type(error).__name__}") from None
        if answer.is_success:
            return
        if not answer.is_server_error or time.monotonic() > deadline:
            raise Fault(f"ranker {address} does not rank: {answer.status_code}, {answer.text[:200]}")
