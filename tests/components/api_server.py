"""A double of a Kubernetes API server for custom objects, on loopback: names, conflicts, rights, faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
TOKEN = "step"  # noqa: S105
VERBS = {"POST": "create", "GET": "get", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class ApiServer:
    """Answers as a server does whose cluster has the resource kinds in `plurals`."""

    plurals: tuple[str, ...] = ("rayjobs", "trainjobs")
    objects: dict[str, Resource] = field(default_factory=dict)
    statuses: dict[str, list[Resource]] = field(default_factory=dict)
    """By name: what the operator writes into the status between one look and the next; the last one stays."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Verbs and names, in order."""
    forbidden: set[str] = field(default_factory=set)
    failing: int = 0
    """So many of the next requests are answered with 503."""
    lingering: int = 0
    """So many looks see an object after it was deleted."""
    silent: set[str] = field(default_factory=set)
    """Verbs that get no answer while they are named here."""
    url: str = ""

    def answer(self, method: str, path: str, token: str | None, body: Resource | None) -> tuple[int, Resource | str]:  # noqa: PLR0911
        _, _, group, _, _, _, plural, *rest = path.partition("?")[0].split("/")
        name = rest[0] if rest else str((body or {}).get("metadata", {}).get("name"))
        verb = VERBS[method]
        self.calls.append((verb, name))
        if self.failing > 0:
            self.failing -= 1
            return 503, status(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        if token != f"Bearer {TOKEN}":
            return 401, status(401, "Unauthorized", "Unauthorized")
        if verb in self.forbidden:
            return 403, status(403, "Forbidden", f'{plural}.{group} is forbidden: User "step" cannot {verb}')
        if plural not in self.plurals:
            return 404, "404 page not found\n"
        if verb == "create":
            return self._create(plural, group, name, body or {})
        if name not in self.objects:
            return 404, status(404, "NotFound", f'{plural}.{group} "{name}" not found')
        return self._existing(verb, name, body or {})

    def _create(self, plural: str, group: str, name: str, body: Resource) -> tuple[int, Resource]:
        if name in self.objects:
            return 409, status(409, "AlreadyExists", f'{plural}.{group} "{name}" already exists')
        if not body.get("spec"):
            return 422, status(422, "Invalid", f"{body.get('kind')} {name!r} is invalid: spec: Required value")
        self.objects[name] = body
        return 201, body

    def _existing(self, verb: str, name: str, body: Resource) -> tuple[int, Resource]:
        found = self.objects[name]
        if verb == "patch":
            found["metadata"].update(body["metadata"])
        elif verb == "delete":
            found["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
            if self.lingering == 0:
                del self.objects[name]
        elif "deletionTimestamp" in found["metadata"]:
            self.lingering -= 1
            if self.lingering == 0:
                del self.objects[name]
        else:
            coming = self.statuses.get(name, [])
            if coming:
                found["status"] = coming.pop(0) if len(coming) > 1 else coming[0]
        return 200, found


def status(code: int, reason: str, message: str) -> Resource:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


@contextmanager
def serving(api: ApiServer) -> Iterator[ApiServer]:
    """The server on a free port of loopback, in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            while VERBS[self.command] in api.silent:
                time.sleep(0.02)
            code, answer = api.answer(self.command, self.path, self.headers.get("authorization"), body)
            text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(code)
            self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def write_kubeconfig(path: Path, url: str) -> Path:
    """A kubeconfig that leads to the server as namespace `ranking`'s user."""
    context = {"cluster": "c", "user": "u", "namespace": "ranking"}
    fields = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": context}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(fields))
    return path
