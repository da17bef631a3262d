"""Sends the exposures of a gateway's log to the evidence service, each at least once; it counts an id once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from model.errors import Fault
from serving.gateway.access_log import ExposureRecord, LogLineError, parse
from serving.gateway.desired import NOBODY
from serving.gateway.log_spool import LogSpool

BATCH = 1000
"""Events of one request; the service takes 5000."""
_AGAIN = frozenset({401, 403, 404, 408, 429})
"""Answers that tell nothing of the events: the same batch is sent again."""


@dataclass
class ExposureSender:
    """From a spool to `POST /v1/exposures`."""

    spool: LogSpool
    client: httpx.Client
    """Its base address is the evidence service."""
    token: Path | None = None
    """File with a token of the role write; read for every request, so that it can be replaced."""

    def step(self, counts: Counter[str]) -> int:
        """Sends what one chunk holds; returns its bytes, 0: there is nothing new.

        counts: lines and answers by kind. Raises Fault where the service does not take it; the place then stays.
        """
        found = self.spool.chunk()
        if found is None:
            return 0
        lines, place = found
        told: Counter[str] = Counter()
        events = list(_events(lines, told))
        for begin in range(0, len(events), BATCH):
            self._send(events[begin : begin + BATCH], told)
        self.spool.taken(place)
        counts.update(told)
        return len(lines)

    def _send(self, events: list[dict[str, Any]], told: Counter[str]) -> None:
        try:
            answer = self.client.post("/v1/exposures", content=orjson.dumps(events), headers=self._headers())
        except httpx.HTTPError as error:
            raise Fault(f"the evidence service at {self.client.base_url} does not answer: {error!r}") from None
        if answer.status_code == 200:
            told.update(_answers(answer))
        elif answer.status_code in _AGAIN or answer.status_code >= 500:
            raise Fault(f"the evidence service at {self.client.base_url} answers {answer.status_code}: {_why(answer)}")
        else:  # it will never take these, and must not wait for others behind them
            told["refused"] += len(events)

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self.token is not None:
            try:
                headers["authorization"] = f"Bearer {self.token.read_text(encoding='utf-8').strip()}"
            except OSError as error:
                raise Fault(f"token {self.token}: {error.strerror}") from None
        return headers


def event_of(record: ExposureRecord) -> dict[str, Any] | None:
    """An exposure as the evidence service takes it; None where it is none. Forced ones go along: they are counted."""
    if record.excluded not in {None, "forced"} or not record.succeeded or record.experiment == NOBODY:
        return None
    if record.unit is None or record.exposure_id is None or record.digest is None:
        return None
    return {
        "experiment": record.experiment,
        "exposure_id": record.exposure_id,
        "unit": record.unit,
        "arm": record.arm,
        "digest": record.digest,
        "phase": record.phase,
        "time": record.time,
        "propensity": record.propensity,
        "request_id": record.request_id,
        "forced": record.forced,
    }


def _events(lines: bytes, told: Counter[str]) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        try:
            records = parse(line)
        except LogLineError:
            told["malformed"] += 1
            continue
        for record in records:
            event = event_of(record)
            if event is None:
                told["excluded"] += 1
            else:
                yield event


def _answers(answer: httpx.Response) -> Counter[str]:
    try:
        told = answer.json()["answers"]
        return Counter("accepted" if each["status"] == "accepted" else str(each["kind"]) for each in told)
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(f"the evidence service answers what it should not: {error!r}") from None


def _why(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
