"""Coming in with a token, and leaving."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from serving.console.door import TokenDoor
from serving.console.form import read_form
from serving.console.session import COOKIE
from serving.console.site import Site

WRONG = "This token is not known."


def login_routes(site: Site, door: TokenDoor) -> APIRouter:
    """The token travels in the body of a form, never in an address."""
    router = APIRouter()

    @router.get("/login")
    def ask(request: Request, after: str = "/") -> Response:
        visit = site.visit(request)
        if visit.person is not None:
            return RedirectResponse(_inside(after), 303)
        return site.page("login.html.j2", visit, after=_inside(after), refused=None)

    @router.post("/login")
    async def come(request: Request) -> Response:
        visit = site.visit(request)
        form = await read_form(request)
        after = _inside(form.get("after", "/"))
        wait = site.limit.wait_s(visit.client)
        if wait > 0:
            told = f"Too many wrong tokens. Try again in {wait:.0f} seconds."
            answer = site.page("login.html.j2", visit, status=429, after=after, refused=told)
            answer.headers["retry-after"] = f"{wait:.0f}"
            return answer
        if not site.sessions.is_form_token(visit.session, form.get("form_token", "")):
            told = "The form is too old. Try again."
            return site.page("login.html.j2", visit, status=403, after=after, refused=told)
        owner = door.owner(form.get("token", "").strip())
        if owner is None:
            site.limit.failed(visit.client)
            return site.page("login.html.j2", visit, status=403, after=after, refused=WRONG)
        landed = RedirectResponse(after, 303)
        site.remember(landed, site.sessions.new(owner.digest), secure=visit.secure)
        return landed

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        visit = site.visit(request)
        form = await read_form(request)
        left = RedirectResponse("/login", 303)
        if site.sessions.is_form_token(visit.session, form.get("form_token", "")):
            left.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=visit.secure)
        return left

    return router


def _inside(path: str) -> str:
    """A path of this site; anything else becomes the first page."""
    plain = path.isprintable() and path.isascii() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") and len(path) <= 300 else "/"
