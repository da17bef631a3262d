"""An evidence service that answers as told, to try the poster by itself."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Events = list[dict[str, Any]]


def accepted(events: Events) -> Response:
    answers = [{"event_id": each["event_id"], "status": "accepted"} for each in events]
    return JSONResponse({"accepted": len(events), "refused": 0, "answers": answers})


def refused(events: Events) -> Response:
    refusal = {"status": "refused", "kind": "unknown", "reason": "experiment 'x' is not registered"}
    return JSONResponse({"answers": [refusal for _ in events]})


def lost(events: Events) -> Response:
    """As a service that dies after its transaction: the events are kept, the acknowledgement is not."""
    raise ConnectionResetError(f"after {len(events)} events")


def status(code: int) -> Callable[[Events], Response]:
    return lambda _: JSONResponse({"error": "as told"}, code)


@dataclass
class Intake:
    """answers: what the next requests get, the last one for all that follow. batches: what came."""

    answers: list[Callable[[Events], Response]] = field(default_factory=lambda: [accepted])
    batches: list[Events] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""

    async def outcomes(self, request: Request) -> Response:
        events = json.loads(await request.body())
        self.batches.append(events)
        self.tokens.append(request.headers.get("authorization"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(events)

    async def ready(self, _: Request) -> Response:
        return JSONResponse({})

    def __enter__(self) -> Intake:
        routes = [Route("/v1/outcomes", self.outcomes, methods=["POST"]), Route("/health/ready", self.ready)]
        sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([sock],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(10)

    @property
    def ids(self) -> list[str]:
        return [each["event_id"] for batch in self.batches for each in batch]
