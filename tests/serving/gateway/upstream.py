"""Small rankers that answer as told, over HTTP and gRPC, so that the gateway can be tried by itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass
class Upstream:
    """A ranker of one arm. What it does may be changed while it runs."""

    arm: str
    delay_s: float = 0.0
    status: int = 200
    ready: bool = True
    answers: int = 1
    """Exposure ids of one answer."""
    halves: bool = False
    """Whether answers break off after their head."""
    seen: list[dict[str, str]] = field(default_factory=list)
    """Headers of ranking requests, in order."""
    port: int = 0

    @property
    def digest(self) -> str:
        return f"digest-of-{self.arm}"

    def headers(self) -> dict[str, str]:
        ids = ",".join(str(uuid.uuid4()) for _ in range(self.answers))
        return {"x-mgoe-arm": "a-liar", "x-mgoe-digest": self.digest, "x-mgoe-exposure-id": ids}

    async def rank(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append(dict(request.headers) | {"path": request.url.path, "bytes": str(len(body))})
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.halves:
            return StreamingResponse(_half(), headers=self.headers() | {"content-length": "100"})
        content = {"arm": self.arm} if self.status < 400 else {"error": "as told"}
        return JSONResponse(content, self.status, headers=self.headers())

    async def readiness(self, _: Request) -> Response:
        return JSONResponse({"ready": self.ready}, 200 if self.ready else 503)

    def start(self) -> Upstream:
        app = Starlette(
            routes=[
                Route("/v2/health/ready", self.readiness),
                Route("/{path:path}", self.rank, methods=["GET", "POST"]),
            ]
        )
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_keep_alive=65)
        self._server = uvicorn.Server(config)
        sock = socket.create_server(("127.0.0.1", self.port), backlog=512)
        # asyncio leaves it out for sockets made elsewhere; heads and bodies would then be 40 ms apart.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = sock.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(sock)), daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
        return self

    async def _serve(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([sock])

    def kill(self) -> None:
        """As a killed process: every connection is cut, and new ones are refused; no answer is cut in half."""
        self._loop.call_soon_threadsafe(self._cut)
        self.stop()

    def _cut(self) -> None:
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def stop(self) -> None:
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()


async def _half() -> AsyncIterator[bytes]:
    yield b"half"
    raise ConnectionResetError


class GrpcUpstream:
    """The gRPC side of an arm: echoes, and tells who it is in trailers."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.seen: list[dict[str, str]] = []
        self.left: list[float | None] = []
        """Seconds until each call's deadline."""
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.unary_unary_rpc_method_handler(self._answer)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
        )
        self.port = int(self._server.add_insecure_port("127.0.0.1:0"))
        self._server.start()

    def _answer(self, request: bytes, context: Any) -> bytes:
        self.seen.append(dict(context.invocation_metadata()))
        self.left.append(context.time_remaining())
        context.set_trailing_metadata(tuple(self.upstream.headers().items()))
        if self.upstream.status != 200:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        return request

    def stop(self) -> None:
        self._server.stop(0).wait()


@contextlib.contextmanager
def running(*upstreams: Upstream) -> Iterator[tuple[Upstream, ...]]:
    """Starts them, and stops at the end those that still run."""
    with contextlib.ExitStack() as stack:
        for upstream in upstreams:
            stack.callback(upstream.start().stop)
        yield upstreams
