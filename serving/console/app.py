"""The application: routes, errors as sentences, health."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from model.errors import Fault, MgoeError
from serving.console.door import TokenDoor
from serving.console.form import FormError
from serving.console.routes_login import login_routes
from serving.console.routes_read import reading_routes
from serving.console.routes_steer import steering_routes
from serving.console.shield import Shield
from serving.console.site import NobodyError, Site, json_answer

STRANGER = "You are not let in: the proxy in front names nobody, or is not trusted."


def make_app(site: Site, hosts: Iterable[str]) -> FastAPI:
    """hosts: names by which the console may be called."""
    app = FastAPI(title="mgoe console", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(reading_routes(site))
    app.include_router(steering_routes(site))
    if isinstance(site.door, TokenDoor):
        app.include_router(login_routes(site, site.door))
    _add_static(app, site)
    _add_health(app, site)
    _add_errors(app, site)
    app.add_middleware(Shield, hosts=tuple(hosts))
    return app


def _add_static(app: FastAPI, site: Site) -> None:
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}

    @app.get("/static/{version}/{name}")
    def static(version: str, name: str) -> Response:
        """Held by browsers for good: another content has another address."""
        content = site.static.get(name)
        if content is None or site.versions()[name] != version:
            raise HTTPException(404)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(content, media_type=kinds[name.rpartition(".")[2]], headers=headers)


def _add_health(app: FastAPI, site: Site) -> None:
    @app.get("/health/live")
    def live() -> Response:
        """The process answers."""
        return json_answer({"live": True})

    @app.get("/health/ready")
    def ready() -> Response:
        """The rollouts can be read."""
        try:
            site.rollouts.all()
        except MgoeError as error:
            return json_answer({"ready": False, "reason": str(error)}, 503)
        return json_answer({"ready": True})


def _add_errors(app: FastAPI, site: Site) -> None:
    def refuse(request: Request, status: int, title: str, words: str) -> Response:
        return site.page("refusal.html.j2", site.visit(request), status=status, title=title, words=words, name=None)

    @app.exception_handler(NobodyError)
    async def nobody(request: Request, _: NobodyError) -> Response:
        if not site.door.asks_for_token:
            return refuse(request, 403, "Not let in", STRANGER)
        if request.method != "GET" or request.url.path.endswith(("/live", "/charts", "/records")):
            return refuse(request, 401, "Not logged in", "Your session has ended; log in again.")
        after = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?after={quote(after, safe='')}", 303)

    @app.exception_handler(MgoeError)
    async def ours(request: Request, error: MgoeError) -> Response:
        if isinstance(error, Fault):
            return refuse(request, 503, "Not to be had now", str(error))
        return refuse(request, 400 if isinstance(error, FormError) else 404, "Not done", str(error))

    @app.exception_handler(HTTPException)
    async def theirs(request: Request, error: HTTPException) -> Response:
        return refuse(request, error.status_code, "No such page", f"{request.url.path[:200]}: {error.detail}")
