"""The HTTP face of the store. Every answer is JSON; whatever is sent, none is a 500 for the sender's fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from model.errors import Fault, MgoeError
from serving.evidence.engine import answers as database_answers
from serving.evidence.engine import own_connection
from serving.evidence.experiment_store import UnknownExperimentError
from serving.evidence.registration import ConflictError
from serving.evidence.routes_experiment import administration_routes, reading_routes, registration_routes
from serving.evidence.routes_intake import intake_routes
from serving.evidence.service import Service, answer
from serving.evidence.work import Work
from serving.evidence.writer import QueueFullError, Writer

RETRY_S = "1"


def make_app(service: Service, works: Sequence[Work] = ()) -> FastAPI:
    """The application; `works` go on beside it until it ends."""
    service.telemetry.watch(works)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        own = own_connection(service.engine)
        service.started = Writer(own, service.limits, service.telemetry)
        tasks = [asyncio.ensure_future(work.forever()) for work in works]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await run_in_threadpool(service.started.stop)
        service.started = None
        own.dispose()

    app = FastAPI(title="mgoe evidence", lifespan=lifespan, docs_url=None, redoc_url=None)
    for routes in (intake_routes, registration_routes, administration_routes, reading_routes):
        app.include_router(routes(service))
    _add_errors(app, service)
    _add_health(app, service, works)
    return app


def _add_health(app: FastAPI, service: Service, works: Sequence[Work]) -> None:
    @app.get("/health/live")
    async def live() -> Response:
        """The process answers."""
        return answer({"live": True})

    @app.get("/health/ready")
    async def ready() -> Response:
        """The database answers too, and the essential work beside has not been failing for long."""
        good = service.started is not None and await run_in_threadpool(database_answers, service.engine)
        good = good and not any(work.stuck for work in works)
        ages = {work.name: round(work.age_s, 1) for work in works}
        return answer({"ready": good, "seconds_since_success": ages}, 200 if good else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus; names no unit."""
        return Response(service.telemetry.render(), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI, service: Service) -> None:
    def refuse(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
        service.telemetry.refused(status)
        return answer({"error": reason}, status, headers)

    @app.exception_handler(MgoeError)
    async def ours(_: Request, error: MgoeError) -> Response:
        if isinstance(error, QueueFullError):
            return refuse(429, str(error), {"retry-after": RETRY_S})
        if isinstance(error, Fault):
            return refuse(503, str(error), {"retry-after": RETRY_S})
        status = 404 if isinstance(error, UnknownExperimentError) else 409 if isinstance(error, ConflictError) else 400
        return refuse(status, str(error))

    @app.exception_handler(HTTPException)
    async def theirs(_: Request, error: HTTPException) -> Response:
        return refuse(error.status_code, str(error.detail), error.headers)
