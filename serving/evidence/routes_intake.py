"""Routes that take in: exposures, outcomes, covariates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from serving.evidence import door
from serving.evidence.covariate import Covariate, upload
from serving.evidence.engine import writing
from serving.evidence.event import Answer, Refusal
from serving.evidence.service import Service, answer

T = TypeVar("T")


def intake_routes(service: Service) -> APIRouter:
    """For tokens of the role write."""
    router = APIRouter(dependencies=[service.needs("write")])

    @router.post("/v1/exposures")
    async def exposures(request: Request) -> Response:
        """Takes exposures: one JSON object, a list, {"events": [...]}, or NDJSON."""
        return await _take(service, request, ("exposure", "exposure_id"), door.exposure_of, service.writer.take)

    @router.post("/v1/outcomes")
    async def outcomes(request: Request) -> Response:
        """Takes outcomes, as exposures."""
        return await _take(service, request, ("outcome", "event_id"), door.outcome_of, service.writer.take)

    @router.post("/v1/covariates")
    async def covariates(request: Request) -> Response:
        """Takes covariates, as exposures."""

        def work(found: Sequence[Covariate]) -> list[Answer]:
            with writing(service.engine) as connection:
                return upload(connection, found)

        async def take(found: Sequence[Covariate]) -> list[Answer]:
            return await run_in_threadpool(work, found)

        return await _take(service, request, ("covariate", "unit"), door.covariate_of, take)

    return router


async def _take(
    service: Service,
    request: Request,
    kind: tuple[str, str],
    read: Callable[[object, int], T],
    take: Callable[[Sequence[T]], Awaitable[list[Answer]]],
) -> Response:
    """kind: what is taken, and the field that is its id."""
    lines = "ndjson" in request.headers.get("content-type", "")
    batch, single = door.batch_of(await service.body(request), lines=lines)
    if len(batch) > service.limits.batch_events:
        raise HTTPException(413, f"{len(batch)} events in one request: at most {service.limits.batch_events}")
    latest_us = service.latest_us()
    judged = [door.judged(read, fields, latest_us, kind[1]) for fields in batch]
    stored = iter(await take([event for event in judged if not isinstance(event, Refusal)]))
    answers = [event if isinstance(event, Refusal) else next(stored) for event in judged]
    service.telemetry.answered(kind[0], answers)
    return _answered(answers, single=single)


def _answered(answers: Sequence[Answer], *, single: bool) -> Response:
    documents = [
        {"event_id": each.event_id, "status": "refused", "kind": each.kind, "reason": each.reason}
        if isinstance(each, Refusal)
        else {"event_id": each.event_id, "status": "accepted"}
        for each in answers
    ]
    refused = sum(isinstance(each, Refusal) for each in answers)
    if single:
        return answer(documents[0], 422 if refused else 200)
    return answer({"accepted": len(answers) - refused, "refused": refused, "answers": documents})
