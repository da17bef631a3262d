"""A client of the gateway that may send anything, and a load of such clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

V2 = "/v2/models/mgoe/infer"
Headers = Mapping[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def arm(self) -> str | None:
        return self.headers.get("x-mgoe-arm")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method: str, path: str, headers: Headers, body: bytes = b"") -> Answer:
        pairs = headers if isinstance(headers, list) else list(headers.items())
        self._connection.putrequest(method, path)
        for name, value in pairs:
            self._connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body)
        answer = self._connection.getresponse()
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, found, answer.read())

    def rank(self, unit: str | None = None, headers: Mapping[str, str] | None = None, path: str = V2) -> Answer:
        named = {} if unit is None else {"x-mgoe-unit": unit}
        return self.ask("POST", path, named | dict(headers or {}), b"{}")

    def close(self) -> None:
        self._connection.close()


class Load:
    """Clients that ask one after the other until told to stop; each keeps its connection until it is told to close."""

    def __init__(self, port: int, clients: int, units: Callable[[int], str], *, last: bool = False) -> None:
        """last: a client whose connection is ended by the gateway does not come back."""
        self.port = port
        self.units = units
        self.last = last
        self.answers: list[tuple[str, Answer]] = []
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]

    def _ask(self, place: int) -> None:
        client, asked = Client(self.port), place
        while not self._end.is_set():
            unit = self.units(asked)
            asked += len(self._threads)
            try:
                answer = client.rank(unit)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body!r}")
            self.answers.append((unit, answer))
            if answer.headers.get("connection") == "close":
                client.close()
                if self.last:
                    return
        client.close()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._end.set()
            self.join()
