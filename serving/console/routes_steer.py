"""Pages that ask for confirmation, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from model.errors import Fault, MgoeError, UserError
from serving.console.form import FormError, read_form
from serving.console.rollouts import sight_of
from serving.console.site import Site, Visit
from serving.console.steer import Asked, StaleError, steer
from serving.console.wish import WISHES, Seen, Sight, Wish, weight_of

READ_ONLY = "You may look, not steer: this needs a person with the role `steer`. Nothing was changed."
OTHER_FORM = "The form is not of this session, perhaps because the console was started anew. Look again, and decide."


def steering_routes(site: Site) -> APIRouter:
    """`GET` asks, `POST` does."""
    router = APIRouter()

    @router.get("/rollouts/{name}/wish/{kind}")
    def ask(request: Request, name: str, kind: str, weight: str | None = None) -> Response:
        visit = site.visit(request)
        wish = _wish(kind)
        if not visit.known.steers:
            return site.page("refusal.html.j2", visit, status=403, title="Read only", words=READ_ONLY, name=name)
        return _confirm(site, visit, wish, name, typed=weight)

    @router.post("/rollouts/{name}/wish/{kind}")
    async def do(request: Request, name: str, kind: str) -> Response:
        visit = site.visit(request)
        wish = _wish(kind)
        if not visit.known.steers:
            return site.page("refusal.html.j2", visit, status=403, title="Read only", words=READ_ONLY, name=name)
        form = await read_form(request)
        if not site.sessions.is_form_token(visit.session, form.get("form_token", "")):
            return site.page("refusal.html.j2", visit, status=403, title="Not done", words=OTHER_FORM, name=name)
        return await run_in_threadpool(_do, site, visit, wish, name, form)

    return router


def _wish(kind: str) -> Wish:
    if kind not in WISHES:
        raise UserError(f"wish {kind[:40]!r}: there are {', '.join(WISHES)}")
    return WISHES[kind]


def _do(site: Site, visit: Visit, wish: Wish, name: str, form: Mapping[str, str]) -> Response:
    sight = sight_of(site.rollouts.desk.read(name))
    try:
        weight = weight_of(form.get("weight"), sight.spec.max_weight) if wish.weighs else None
        asked = Asked(wish, _seen(form), weight, form.get("reason", ""), visit.known, visit.client)
        record = steer(site.rollouts, site.audit, name, asked)
    except MgoeError as error:
        status = 409 if isinstance(error, StaleError) else 503 if isinstance(error, Fault) else 400
        return _confirm(site, visit, wish, name, typed=form.get("weight"), refused=str(error), status=status, form=form)
    return RedirectResponse(f"/rollouts/{quote(name)}?done={record.attempt}", 303)


def _seen(form: Mapping[str, str]) -> Seen:
    generation = form.get("generation", "")
    if not (generation.isascii() and generation.isdigit() and len(generation) < 19):
        raise FormError("the form does not say which generation was looked at")
    return Seen(int(generation), form.get("run", "")[:80], form.get("alarm", "")[:80])


def _confirm(
    site: Site,
    visit: Visit,
    wish: Wish,
    name: str,
    *,
    typed: str | None,
    refused: str | None = None,
    status: int = 200,
    form: Mapping[str, str] | None = None,
) -> Response:
    """The page that says what will happen; with the reason why nothing has, after a refusal."""
    sight = sight_of(site.rollouts.desk.read(name))
    weight, wrong = _typed(sight, wish, typed)
    unfit = wish.unfit(sight)
    return site.page(
        "confirm.html.j2",
        visit,
        status=status,
        wish=wish,
        sight=sight,
        name=name,
        unfit=unfit,
        effects=() if unfit else wish.effects(sight, weight),
        weight=(typed or "") if wrong else weight,
        refused=refused or wrong,
        reason=(form or {}).get("reason", "")[:500],
    )


def _typed(sight: Sight, wish: Wish, typed: str | None) -> tuple[int | None, str | None]:
    if not wish.weighs or not (typed or "").strip():
        return None, None
    try:
        return weight_of(typed, sight.spec.max_weight), None
    except UserError as error:
        return None, str(error)
