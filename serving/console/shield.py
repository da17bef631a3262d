"""What every request and answer passes: the name that was called, where a form comes from, and the headers of a page.

A page of another site must not be able to act through a browser that is logged in here (forged forms, clickjacking,
names that are made to point at this address).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # Not no-referrer: browsers then send `Origin: null` with a form, which is what a forged one sends.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_HEALTH = "/health/"


class Shield:
    """ASGI middleware. hosts: names by which the console may be called; `*`: any."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, shielded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not scope["path"].startswith(_HEALTH) and not self._knows(host):
            shown = "".join(each for each in host if each.isprintable())[:80]
            return PlainTextResponse(f"This console does not answer to the name {shown!r} (--host).\n", 421)
        if scope["method"] not in {"GET", "HEAD"} and not _same_origin(headers.get("origin"), host):
            return PlainTextResponse("Nothing was changed: the form does not come from this console.\n", 403)
        return None

    def _knows(self, host: str) -> bool:
        return "*" in self._hosts or hostname(host) in self._hosts


def hostname(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _same_origin(origin: str | None, host: str) -> bool:
    """By name and port. Not by scheme: a proxy in front may speak TLS."""
    try:
        return bool(host) and urlsplit(origin or "").netloc.lower() == host.lower()
    except ValueError:
        return False
