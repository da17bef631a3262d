"""What all routes of the store share: its parts, who may call, how a body is read and an answer written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Depends, Request, Response
from sqlalchemy import Engine
from starlette.exceptions import HTTPException

from model.errors import Fault
from serving.evidence.event import SECOND
from serving.evidence.limits import Limits
from serving.evidence.telemetry import Telemetry
from serving.evidence.tokens import Role, Tokens
from serving.evidence.writer import Writer

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

JSON = frozenset({"application/json", "application/x-ndjson"})

BODY_S = 30.0
"""Seconds that a body may take to arrive."""


@dataclass
class Service:
    """The parts of one server."""

    engine: Engine
    tokens: Tokens
    limits: Limits = field(default_factory=Limits)
    telemetry: Telemetry = field(default_factory=Telemetry)
    hosts: frozenset[str] | None = None
    """Names by which it may be called, without a port; None: any."""
    clock: Callable[[], float] = time.time
    """Unix seconds."""
    started: Writer | None = None

    @property
    def writer(self) -> Writer:
        """The thread that writes. Raises Fault where the server does not run."""
        if self.started is None:
            raise Fault("the server does not run")
        return self.started

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return round(self.clock() * SECOND)

    def latest_us(self) -> int:
        """The time that an event may have at most."""
        return round((self.clock() + self.limits.future_s) * SECOND)

    def needs(self, role: Role) -> Any:
        """A dependency that lets through who has a role: 401 without a known token, 403 with another's; 415 for what is
        not JSON, 421 for another host."""

        async def check(request: Request) -> None:
            self._check_sender(request)
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            roles = self.tokens.roles(token.strip())
            if role in roles:
                return
            if roles:
                raise HTTPException(403, f"this token does not have the role {role}")
            reason = "no known token" if scheme.lower() == "bearer" else "send `authorization: Bearer TOKEN`"
            raise HTTPException(401, reason, {"www-authenticate": "Bearer"})

        return Depends(check)

    def _check_sender(self, request: Request) -> None:
        """A page of another site can send text and forms, and reach loopback by a name of its own, but not this."""
        if self.hosts is not None and request.url.hostname not in self.hosts:
            names = ", ".join(sorted(self.hosts))
            raise HTTPException(421, f"host {request.url.hostname!r}: without tokens it answers to {names}")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind not in JSON:
            raise HTTPException(415, f"content-type {kind!r}: application/json or application/x-ndjson is expected")

    async def body(self, request: Request) -> bytes:
        """The body: 413 where it is too large, 408 where it does not come, 415 where it is compressed."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "body: no content-encoding is understood")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > self.limits.body_bytes:
                        raise HTTPException(413, f"body: more than {self.limits.body_bytes} bytes")
        except TimeoutError:
            raise HTTPException(408, f"body: it did not arrive within {BODY_S:.0f} s") from None
        return b"".join(parts)


def answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(document), status, headers, media_type="application/json")
