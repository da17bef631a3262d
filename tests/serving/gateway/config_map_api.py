"""An API server that knows one ConfigMap: GET, watch, versions; and its refusals."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from serving.gateway.config_map import ConfigMapClient

NAMESPACE, NAME = "ranking", "mgoe-gateway"


@dataclass
class ConfigMapApi:
    """What a test may do to the cluster."""

    data: dict[str, str] | None = field(default_factory=dict)
    """None: there is no such ConfigMap."""
    version: int = 100
    status: int = 200
    """Another one is answered to everything."""
    deaf: bool = False
    """Watches are accepted, and nothing is ever sent on them."""
    asked: list[str] = field(default_factory=list)
    """Verb and what for, of every request."""
    tokens: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopped: bool = False

    def put(self, data: dict[str, str] | None) -> str:
        """Writes the data, or deletes the object; the new resourceVersion."""
        with self._changed:
            self.data = data
            self.version += 1
            self._changed.notify_all()
        return str(self.version)

    def split(self, **fields: Any) -> str:
        """Writes a split."""
        whole = {
            "version": 1,
            "experiment": "feed.1a2b",
            "salt": "feed.1a2b",
            "stratum": 1,
            "weight": 0,
            "services": {"baseline": "one", "candidate": "two"},
        }
        return self.put({"split.json": json.dumps(whole | fields)})

    def document(self) -> dict[str, Any]:
        return {"metadata": {"name": NAME, "resourceVersion": str(self.version)}, "data": self.data}

    def events(self, after: int, seconds: float) -> Iterator[dict[str, Any]]:
        """Changes behind a version, until the time is over."""
        deadline = time.monotonic() + seconds
        while not self._stopped:
            with self._changed:
                waits = deadline - time.monotonic()
                if waits <= 0:
                    return
                if self.version <= after or self.deaf:
                    self._changed.wait(min(waits, 0.1))
                    continue
                after = self.version
                kind = "DELETED" if self.data is None else "MODIFIED"
                event = {"type": kind, "object": self.document()}
            yield event

    def stop(self) -> None:
        self._stopped = True


@contextlib.contextmanager
def served(api: ConfigMapApi) -> Iterator[str]:
    """Its address, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            api.tokens.append(self.headers.get("authorization", ""))
            if api.status != 200:
                self._answer(api.status, {})
            elif "watch" in query:
                api.asked.append(f"watch {query['fieldSelector'][0]}")
                self._watch(int(query.get("resourceVersion", ["0"])[0]), float(query["timeoutSeconds"][0]))
            else:
                api.asked.append(f"get {path.rpartition('/')[2]}")
                self._answer(200 if api.data is not None else 404, api.document())

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _watch(self, after: int, seconds: float) -> None:
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in api.events(after, seconds):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        api.stop()
        server.shutdown()
        server.server_close()
        thread.join()


def client(address: str) -> ConfigMapClient:
    return ConfigMapClient(httpx.Client(base_url=address, timeout=5.0), NAMESPACE, NAME)
