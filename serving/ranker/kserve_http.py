"""uvicorn as the ranker needs it: bound heads, no signal handlers of its own, a connection's end announced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.ranker.kserve_model import RankerModel

MOST_HEAD = 64 * 2**10
"""Bytes of a request line and its headers; uvicorn would keep any number of them."""
KEEP_ALIVE_S = 65
"""Longer than a gateway keeps an idle connection, so that it is never the server that closes first."""


class BoundHead(HttpToolsProtocol):
    """HTTP/1.1 whose requests have a largest head."""

    _head = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        # What came before this chunk: a chunk that ends the head may hold any part of the body.
        if self._in_head and self._head > MOST_HEAD:
            self.send_400_response(f"The head of the request is larger than {MOST_HEAD} bytes.")
            return
        self._head += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


class LastAnswers:
    """While the server goes away, every answer ends its connection, so that clients move on in peace."""

    def __init__(self, app: ASGIApp, model: RankerModel) -> None:
        self._app = app
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._model.draining:
            await self._app(scope, receive, send)
            return

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, last)


class HeadAsGet:
    """HEAD is answered as GET is, with its status and headers; uvicorn sends no body after it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)


class RestServer(uvicorn.Server):
    """Stops when told, not by signals: the process has one drain for all its servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def rest_server(app: ASGIApp, model: RankerModel, grace_s: float) -> RestServer:
    config = uvicorn.Config(
        LastAnswers(HeadAsGet(app), model),
        http=BoundHead,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks who the caller is
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    return RestServer(config)
