"""Whether the processes of a stack do their work: each is asked at its own path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

from serving.stack.records import ProcessRecord, Records, runs
from serving.stack.services import Service

ASK_S = 1.5

Condition = Literal["ready", "starting", "waits", "ended", "stopped"]
"""starting: it runs and is not ready. waits: it has ended and is started again soon. ended: nobody starts it again."""


@dataclass(frozen=True)
class Seen:
    """A process at this moment."""

    service: Service
    record: ProcessRecord | None
    condition: Condition

    @property
    def pid(self) -> int | None:
        return self.record.pid if self.record is not None and self.condition in {"ready", "starting"} else None


def look(services: Sequence[Service], records: Records | None) -> tuple[Seen, ...]:
    """Every process of the stack, asked all at once."""
    ready = asyncio.run(readiness(services))
    found = records.processes if records is not None else {}
    return tuple(
        Seen(one, found.get(one.name), _condition(records, found.get(one.name), ready[one.name])) for one in services
    )


def _condition(records: Records | None, record: ProcessRecord | None, ready: bool) -> Condition:
    if records is None or record is None:
        return "starting" if records is not None and records.supervised else "stopped"
    if runs(records, record):
        return "ready" if ready else "starting"
    if record.state == "stopped":
        return "stopped"
    return "waits" if records.supervised else "ended"


async def readiness(services: Sequence[Service]) -> Mapping[str, bool]:
    """By name, whether it answers that it does its work."""
    async with httpx.AsyncClient(timeout=ASK_S, trust_env=False) as client:
        answers = await asyncio.gather(*(_asked(client, one) for one in services))
    return {one.name: answer for one, answer in zip(services, answers, strict=True)}


async def _asked(client: httpx.AsyncClient, service: Service) -> bool:
    try:
        return (await client.get(service.ready)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
