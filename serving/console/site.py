"""What the pages are made of, and how one is made: the parts of a running console, templates, and who is asking."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from serving.console import words
from serving.console.audit import Audit
from serving.console.course import Course, Courses
from serving.console.door import Door
from serving.console.latency import Latencies
from serving.console.lineage import Lineages
from serving.console.login_limit import LoginLimit
from serving.console.overview import PHASE_SIGNS, PHASE_TONES, VERDICT_SIGNS, VERDICT_TONES
from serving.console.person import Person
from serving.console.rollouts import Rollouts
from serving.console.session import COOKIE, LIFE_S, Session, Sessions
from serving.console.split_record import SplitRecord

__all__ = ["Course", "NobodyError", "Site", "Visit"]

STATIC = ("console.css", "console.js", "icon.svg")


class NobodyError(Exception):
    """A stranger asks for a page."""


@dataclass(frozen=True)
class Visit:
    """One request: from whom, in which session."""

    session: Session
    person: Person | None
    client: str
    new: bool
    """Whether the session has to be given to the browser."""
    secure: bool
    """Whether the browser speaks TLS, as far as this process can tell."""

    @property
    def known(self) -> Person:
        """Raises NobodyError."""
        if self.person is None:
            raise NobodyError
        return self.person


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("serving.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (
        words.moment,
        words.machine_time,
        words.duration,
        words.ago,
        words.percent,
        words.number,
        words.lift,
    )
    environment.filters |= {each.__name__: each for each in shown}
    environment.globals |= {
        "phase_tones": PHASE_TONES,
        "phase_signs": PHASE_SIGNS,
        "verdict_tones": VERDICT_TONES,
        "verdict_signs": VERDICT_SIGNS,
    }
    return environment


@dataclass
class Site:
    """The parts of a console."""

    rollouts: Rollouts
    audit: Audit
    splits: SplitRecord
    sessions: Sessions
    door: Door
    place: str
    """Whose rollouts these are, in words."""
    courses: Courses | None = None
    latencies: Latencies | None = None
    lineages: Lineages = field(default_factory=Lineages)
    limit: LoginLimit = field(default_factory=LoginLimit)
    now: Callable[[], float] = time.time
    templates: Environment = field(default_factory=_environment)
    static: Mapping[str, bytes] = field(
        default_factory=lambda: {name: (files("serving.console") / "static" / name).read_bytes() for name in STATIC}
    )

    def visit(self, request: Request) -> Visit:
        """Who asks."""
        session = self.sessions.read(request.cookies.get(COOKIE))
        client = request.client.host if request.client else ""
        person = self.door.person(session, request.headers, client)
        return Visit(
            session=session or self.sessions.new(),
            person=person,
            client=client,
            new=session is None,
            secure=request.url.scheme == "https",
        )

    def versions(self) -> dict[str, str]:
        """Digests of the static files, for their addresses: a new version is a new address."""
        return {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.static.items()}

    def page(self, template: str, visit: Visit, *, status: int = 200, **fields: Any) -> Response:
        """A whole page, with the cookie of a new session."""
        body = self.render(template, visit, **fields)
        answer = HTMLResponse(body, status)
        if visit.new:
            self.remember(answer, visit.session, secure=visit.secure)
        return answer

    def fragment(self, template: str, visit: Visit, request: Request, **fields: Any) -> Response:
        """A part of a page; 304 where the browser has it already."""
        body = self.render(template, visit, **fields).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(body, headers=headers)

    def render(self, template: str, visit: Visit, **fields: Any) -> str:
        """A template."""
        return self.templates.get_template(template).render(
            person=visit.person,
            form_token=self.sessions.form_token(visit.session),
            versions=self.versions(),
            place=self.place,
            logs_in=self.door.asks_for_token,
            now=self.now(),
            **fields,
        )

    def remember(self, answer: Response, session: Session, *, secure: bool) -> None:
        """Gives the browser its session."""
        answer.set_cookie(
            COOKIE, self.sessions.cookie(session), max_age=LIFE_S, httponly=True, samesite="strict", secure=secure
        )


def json_answer(content: object, status: int = 200) -> Response:
    """For programs."""
    return Response(json.dumps(content), status, media_type="application/json")
