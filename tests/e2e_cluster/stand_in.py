"""A program of the standard library alone that plays a ranker (a digest, healthy) and a Prometheus (one value).

As a pod it is mounted from a ConfigMap; without a kubelet the test runs it here. `POST /set/0.5` sets the value.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VALUE = {"value": 0.0}


class StandIn(BaseHTTPRequestHandler):
    """digest: of the bundle that it claims to serve."""

    digest = ""

    def do_GET(self) -> None:
        """Answers by path; anything else is healthy."""
        path = self.path.partition("?")[0]
        answers: dict[str, object] = {
            "/v2/models": {"models": ["mgoe"]},
            "/v2/models/mgoe": {"name": "mgoe", "properties": {"digest": self.digest}},
            "/api/v1/query": {
                "status": "success",
                "data": {"resultType": "vector", "result": [{"value": [time.time(), str(VALUE["value"])]}]},
            },
        }
        self._answer(answers.get(path, {}))

    def do_POST(self) -> None:
        """Sets the value, or ranks."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.startswith("/set/"):
            VALUE["value"] = float(self.path.removeprefix("/set/"))
        self._answer({}, {"x-mgoe-digest": self.digest, "x-mgoe-exposure-id": uuid.uuid4().hex})

    def _answer(self, document: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who asked has gone
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def server(address: str, port: int, digest: str) -> ThreadingHTTPServer:
    """Bound, not yet serving."""
    made = ThreadingHTTPServer((address, port), type("Bound", (StandIn,), {"digest": digest}))
    made.daemon_threads = True
    return made


if __name__ == "__main__":
    server("0.0.0.0", 8080, sys.argv[1]).serve_forever()  # noqa: S104  # in a pod
