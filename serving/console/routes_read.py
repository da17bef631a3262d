"""Pages that only show."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model.errors import Fault, UserError
from serving.console.overview import Unreadable, rows
from serving.console.rollout_view import view_of
from serving.console.rollouts import sight_of
from serving.console.site import Site, Visit
from serving.console.wish import Sight
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
        fields = {**_live(site, visit, read), **_charts(site, read)}
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
    sight, person, now = sight_of(read), visit.known, site.now()
    problems = []
    try:
        events = site.rollouts.desk.events(read.key.name)
        known = {line.seq for line in sight.status.history}
        events = tuple(line for line in events if not known or line.seq in known) or sight.status.history
    except Fault as error:
        events, problems = sight.status.history, [str(error)]
    try:
        records = site.audit.of(read.uid)
    except Fault as error:
        records, problems = (), [*problems, str(error)]
    latency = site.latencies.latest() if site.latencies is not None else None
    return {
        "view": view_of(sight, person, now),
        "name": read.key.name,
        "history": tuple(reversed(events))[:HISTORY],
        "records": records,
        "problems": problems,
        "latency": latency,
        "lineage": site.lineages.of(sight),
    }


def _charts(site: Site, read: Stored) -> dict[str, Any]:
    return {"name": read.key.name}
