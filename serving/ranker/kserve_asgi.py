"""The short way from uvicorn to a ranking handler and back, and what bounds the bodies on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.ranker.refusal import QueueFull, RequestError

Handler = Callable[..., Awaitable[Response]]
Handlers = dict[Any, Any]
"""What answers which exception, as Starlette has it."""
_THROWN_AWAY = 8
"""So many caps of a body that is too large are read and dropped, so that its sender hears the answer."""


class OwnPaths:
    """POSTs to paths of one spelling, and what their handlers raise; the rest is another application's."""

    def __init__(self, paths: Mapping[str, Handler], handlers: Handlers, rest: ASGIApp) -> None:
        self._paths = paths
        self._handlers = handlers
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._paths.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if handler is None:
            await self._rest(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except Exception as error:
            kind = next(kind for kind in type(error).__mro__ if kind in self._handlers)
            response = await self._handlers[kind](request, error)
            await response(scope, receive, send)
            if kind is Exception:
                raise
            return
        await response(scope, receive, send)


class Ranked(Response):
    """An answer whose bytes and headers are there already."""

    def __init__(self, body: bytes, media_type: str, headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", media_type.encode()),
            *((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
        ]


class Room:
    """Bounds how many requests are under way, and so what their bodies take together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    def __enter__(self) -> None:
        """Raises QueueFull, before a body is read."""
        if self._taken >= self._most:
            raise QueueFull(f"{self._taken} requests are under way already; try again in a moment")
        self._taken += 1

    def __exit__(self, *_: object) -> None:
        self._taken -= 1


async def read_body(receive: Receive, most: int) -> bytes:
    """The body. Raises RequestError 413 beyond `most` bytes, and ClientDisconnect."""
    chunks: list[bytes] = []
    size, more = 0, True
    while more and size <= most * _THROWN_AWAY:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size <= most:
            chunks.append(chunk)
    if size > most:
        raise RequestError(f"the body is larger than {most} bytes", 413, "too_large")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
