"""A real proxy before a real ranker that makes some of its answers slow or wrong, so that the system's guard is seen.

Only ranking requests suffer; readiness and metadata pass, since a fault that a health check sees is found without any
statistics. HTTP alone: it stands where a gateway's `http` endpoint points to.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp
import numpy as np
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from model.errors import Fault, UserError

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)
"""RFC 9110, section 7.6.1; the length is written anew."""
_RANKING = (":predict", "/infer")
_BODY_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and when. Raises UserError for a value out of its range."""

    latency_s: float = 0.0
    latency_share: float = 1.0
    """Share of ranking requests that are held for `latency_s`."""
    error_share: float = 0.0
    """Share of ranking requests that get `error_status` instead of an answer."""
    error_status: int = 500
    after_s: float = 0.0
    """Seconds of good behaviour at first."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("latency_share", "error_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name.replace('_', ' ')} {getattr(self, name):g}: write a share from 0 to 1")
        for name in ("latency_s", "after_s"):
            if not 0 <= getattr(self, name) <= 86_400:
                raise UserError(f"{name.replace('_', ' ')} {getattr(self, name):g}: write seconds, 0 to 86400")
        if not 400 <= self.error_status <= 599:
            raise UserError(f"error status {self.error_status}: write 400 to 599")


class FaultProxy:
    """As an async context: listens on loopback on entry, and has stopped after it. upstream: http://HOST:PORT."""

    def __init__(self, upstream: str, faults: Faults, port: int = 0) -> None:
        self.upstream = upstream.rstrip("/")
        self.faults = faults
        self.port = port
        self.passed = 0
        self.failed = 0
        """Ranking requests that got an error from here."""
        self._rng = np.random.default_rng(faults.seed)

    async def __aenter__(self) -> FaultProxy:
        self._begun = time.monotonic()
        self._session = aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0))
        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        try:
            await site.start()
        except OSError as error:
            await self._stop()
            raise Fault(f"fault proxy: port {self.port} cannot be listened on: {error.strerror}") from None
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith(_RANKING) and time.monotonic() - self._begun >= self.faults.after_s:
            error, slow = self._rng.random(2) < (self.faults.error_share, self.faults.latency_share)
            if slow and self.faults.latency_s:
                await asyncio.sleep(self.faults.latency_s)
            if error:
                self.failed += 1
                return web.json_response(
                    {"error": "planted by mgoe traffic fault-proxy"}, status=self.faults.error_status
                )
        return await self._pass(request)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        url = self.upstream + request.path_qs
        try:
            async with self._session.request(
                request.method, url, data=body, headers=_passed_on(request.headers), allow_redirects=False
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            # As a ranker that is gone: the connection is cut, and the gateway sees what it would see without a proxy.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)
        self.passed += 1
        return web.Response(status=answer.status, body=content, headers=_passed_on(answer.headers))


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for value in headers.getall("connection", []) for name in value.split(",")}
    return CIMultiDict((n, v) for n, v in headers.items() if n.lower() not in _HOP_BY_HOP | named)
