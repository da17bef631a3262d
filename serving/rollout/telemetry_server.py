"""Metrics, liveness and readiness of the operator over HTTP. Nothing here writes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from serving.listening import bound, listen
from serving.rollout.telemetry import Telemetry


def make_app(telemetry: Telemetry) -> FastAPI:
    """Three paths."""
    app = FastAPI(title="mgoe rollout", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health/live")
    def live() -> Response:
        """The loop turns."""
        return JSONResponse({"live": telemetry.alive}, 200 if telemetry.alive else 503)

    @app.get("/health/ready")
    def ready() -> Response:
        """The loop has turned; one that only stands by is ready too."""
        return JSONResponse({"ready": telemetry.ready}, 200 if telemetry.ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        """For Prometheus."""
        return Response(telemetry.render(), media_type="text/plain; version=0.0.4")

    return app


@contextlib.contextmanager
def serving(telemetry: Telemetry, address: str, port: int) -> Iterator[int]:
    """In a thread of its own while the context lasts; gives the port. Raises Fault for a port that is taken."""
    sock = bound(address, port)
    listen(sock)
    server = uvicorn.Server(uvicorn.Config(make_app(telemetry), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="telemetry", daemon=True)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(5)
