"""Routes of experiments: registration, phases, evidence, deletion, retention."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from serving.evidence import door, experiment_store, registration_door
from serving.evidence.deletion import delete_unit
from serving.evidence.ending import end
from serving.evidence.engine import reading, writing
from serving.evidence.placement import place
from serving.evidence.readout import read_evidence
from serving.evidence.registration import register, start_phase
from serving.evidence.retention import prune
from serving.evidence.series import series_json, snapshot
from serving.evidence.service import Service, answer


def registration_routes(service: Service) -> APIRouter:
    """Designs and phases, for tokens of the role admin."""
    router = APIRouter(dependencies=[service.needs("admin")])
    engine = service.engine

    @router.post("/v1/experiments")
    async def experiments(request: Request) -> Response:
        """Registers a run: {"design": ..., "bounds": {"outcome": {"lowest", "highest"}}}. 201: new; 200: was there."""
        design, bounds = registration_door.registration_of(door.parse(await service.body(request)))

        def work() -> bool:
            with writing(engine) as connection:
                return register(connection, design, bounds, service.now_us())

        return answer({"experiment": design.experiment}, 201 if await run_in_threadpool(work) else 200)

    @router.post("/v1/experiments/{name}/phases")
    async def phases(name: str, request: Request) -> Response:
        """Registers the start of a phase: {"phase", "start", "candidate_weight", and the run's digests}."""
        start = registration_door.phase_start_of(_name(name), await service.body(request), service.latest_us())

        def work() -> bool:
            with writing(engine) as connection:
                new = start_phase(connection, start)
            place(engine, name)
            return new

        return answer({"experiment": name, "phase": start.phase}, 201 if await run_in_threadpool(work) else 200)

    return router


def administration_routes(service: Service) -> APIRouter:
    """What is kept and what goes, for tokens of the role admin."""
    router = APIRouter(dependencies=[service.needs("admin")])
    engine = service.engine

    @router.post("/v1/experiments/{name}/snapshots")
    async def snapshots(name: str) -> Response:
        """Keeps the evidence as it is now, for its course over time."""
        kept = await run_in_threadpool(snapshot, engine, _name(name), service.now_us())
        return answer({"experiment": name, "as_of": kept.as_of}, 201)

    @router.post("/v1/experiments/{name}/prune")
    async def pruned(name: str, request: Request) -> Response:
        """Lets raw events before a time go: {"before": seconds}."""
        read = door.document_of(await service.body(request), frozenset({"before"}))
        before = door.time_of(read, "before", service.now_us())
        return answer({"deleted": await run_in_threadpool(prune, engine, _name(name), before)})

    @router.post("/v1/experiments/{name}/end")
    async def ended(name: str) -> Response:
        """Takes nothing more; the evidence stays, and all that is kept of single units goes."""
        return answer({"deleted": await run_in_threadpool(end, engine, _name(name), service.now_us())})

    @router.post("/v1/deletions")
    async def deletions(request: Request) -> Response:
        """Deletes all that is kept of {"unit"}, in {"experiment"} or in all. In the body: addresses are logged."""
        read = door.document_of(await service.body(request), frozenset({"unit", "experiment"}))
        unit = door.text_of(read, "unit")
        name = None if read.get("experiment") is None else door.name_of(read, "experiment")
        return answer({"deleted": await run_in_threadpool(delete_unit, engine, unit, service.now_us(), name)})

    return router


def reading_routes(service: Service) -> APIRouter:
    """For tokens of the role read."""
    router = APIRouter(dependencies=[service.needs("read")])
    engine = service.engine

    @router.get("/v1/experiments")
    async def experiments() -> Response:
        """Names of all experiments."""

        def work() -> list[str]:
            with reading(engine) as connection:
                return list(experiment_store.names(connection))

        return answer({"experiments": await run_in_threadpool(work)})

    @router.get("/v1/experiments/{name}/evidence")
    async def evidence(name: str, request: Request) -> Response:
        """The evidence of the latest run, or of ?candidate=, as of now."""
        found = await run_in_threadpool(read_evidence, engine, _name(name), service.now_us(), _candidate(request))
        return answer(found.to_json())

    @router.get("/v1/experiments/{name}/series")
    async def series(name: str, request: Request) -> Response:
        """The kept snapshots of that run, and its evidence as of now."""
        parts = await run_in_threadpool(series_json, engine, _name(name), service.now_us(), _candidate(request))
        return StreamingResponse(parts, media_type="application/json")

    return router


def _name(name: str) -> str:
    return door.name_of({"experiment": name}, "experiment")


def _candidate(request: Request) -> str | None:
    query = request.query_params
    return door.text_of(query, "candidate") if "candidate" in query else None
