"""Pages that only show."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model.errors import Fault, UserError
from serving.console.charts_view import charts_of, known_in
from serving.console.course import Course
from serving.console.overview import Unreadable, rows
from serving.console.rollout_view import view_of
from serving.console.rollouts import sight_of
from serving.console.site import Site, Visit
from serving.console.wish import Sight
from serving.rollout.judgement import Naming
from serving.rollout.state import UNDER_TRAFFIC, Transition
from serving.rollout.store import Stored

HISTORY = 200


def reading_routes(site: Site) -> APIRouter:
    """The list, and one rollout; each as a page and as the part of it that is renewed."""
    router = APIRouter()

    @router.get("/")
    def overview(request: Request) -> Response:
        visit = site.visit(request)
        return site.page("overview.html.j2", visit, **_overview(site, visit))

    @router.get("/live")
    def overview_live(request: Request) -> Response:
        visit = site.visit(request)
        return site.fragment("overview_live.html.j2", visit, request, **_overview(site, visit))

    @router.get("/rollouts/{name}")
    def rollout(request: Request, name: str, done: str = "") -> Response:
        visit = site.visit(request)
        _ = visit.known
        read = site.rollouts.one(name)
        record = site.audit.attempt(done[:32]) if done else None
        fields = {**_live(site, visit, read), **_charts(site, read), **_records(site, visit, read)}
        outcome = record if record is not None and record.uid == read.uid else None
        return site.page("rollout.html.j2", visit, outcome=outcome, **fields)

    @router.get("/rollouts/{name}/live")
    def rollout_live(request: Request, name: str) -> Response:
        visit = site.visit(request)
        _ = visit.known
        return site.fragment("rollout_live.html.j2", visit, request, **_live(site, visit, site.rollouts.one(name)))

    @router.get("/rollouts/{name}/charts")
    def rollout_charts(request: Request, name: str) -> Response:
        visit = site.visit(request)
        _ = visit.known
        return site.fragment("rollout_charts.html.j2", visit, request, **_charts(site, site.rollouts.one(name)))

    @router.get("/rollouts/{name}/records")
    def rollout_records(request: Request, name: str) -> Response:
        visit = site.visit(request)
        _ = visit.known
        return site.fragment(
            "rollout_records.html.j2", visit, request, **_records(site, visit, site.rollouts.one(name))
        )

    return router


def _overview(site: Site, visit: Visit) -> dict[str, Any]:
    _ = visit.known
    sights: list[Sight] = []
    unreadable: list[Unreadable] = []
    for read in site.rollouts.all():
        try:
            sights.append(sight_of(read))
        except UserError as error:
            unreadable.append(Unreadable(read.key.name, str(error)))
    return {"rows": rows(sights, site.now()), "unreadable": unreadable}


def _live(site: Site, visit: Visit, read: Stored) -> dict[str, Any]:
    latency = site.latencies.latest() if site.latencies is not None else None
    sight = sight_of(read)
    measured = latency if sight.status.phase in UNDER_TRAFFIC else None
    return {
        "view": view_of(sight, visit.known, site.now()),
        "known": known_in(sight, _course(site, read, sight)),
        "name": read.key.name,
        "latency": measured,
    }


def _charts(site: Site, read: Stored) -> dict[str, Any]:
    sight = sight_of(read)
    history, _ = _history(site, read, sight)
    latency = site.latencies.course() if site.latencies is not None else ()
    try:
        stretches = site.splits.of(read.uid)
    except Fault:
        stretches = ()
    charts = charts_of(
        sight, history, stretches=stretches, course=_course(site, read, sight), latency=latency, now=site.now()
    )
    return {"charts": charts, "name": read.key.name}


def _course(site: Site, read: Stored, sight: Sight) -> Course | None:
    run = sight.status.run
    if site.courses is None or run is None:
        return None
    return site.courses.of(Naming.of(sight.spec, read.identity).experiment(run.id), run.candidate)


def _records(site: Site, visit: Visit, read: Stored) -> dict[str, Any]:
    sight = sight_of(read)
    history, problem = _history(site, read, sight)
    problems = [] if problem is None else [problem]
    try:
        records = site.audit.of(read.uid)
    except Fault as error:
        records, problems = (), [*problems, str(error)]
    return {
        "history": tuple(reversed(history))[:HISTORY],
        "records": records,
        "problems": problems,
        "lineage": site.lineages.of(sight),
        "sight": sight,
        "view": view_of(sight, visit.known, site.now()),
        "name": read.key.name,
    }


def _history(site: Site, read: Stored, sight: Sight) -> tuple[tuple[Transition, ...], str | None]:
    """Oldest first; the store knows more than the status keeps. With the reason where it cannot be asked."""
    kept = sight.status.history
    try:
        events = site.rollouts.desk.events(read.key.name)
    except Fault as error:
        return kept, str(error)
    # Of an earlier rollout of the same name, which counted from 1 too, nothing belongs here.
    begun = max((place for place, line in enumerate(events) if line.seq == 1), default=0)
    return (events[begun:] if len(events) - begun >= len(kept) else kept), None
