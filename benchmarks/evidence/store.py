"""The store under load: the real process over HTTP, and the CPU time of it and of its database."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from sqlalchemy import Engine

from serving.evidence import bulk
from serving.evidence.engine import writing
from serving.evidence.event import MICRO, SECOND
from serving.evidence.schema import outcomes
from serving.experiment.design import Design, Metric

UNITS = 20_000
BATCH = 1000
SENDERS = 3
"""Requests at the same time: one is read and one is written while the third waits."""
METRICS = (
    Metric("ctr", "ratio", "click", denominator="exposures", covariate="past"),
    Metric("uctr", "proportion", "click", role="secondary"),
    Metric("revenue", "mean", "buy", cap=500.0, covariate="past", role="secondary", maturity_s=86_400),
)
DESIGN = Design("ranking", "salt", "b0", "c1", METRICS)


@dataclass(frozen=True)
class Load:
    """What a stretch of events cost."""

    events: int
    wall_s: float
    store_cpu_s: float
    database_cpu_s: float


class Store:
    """A running store."""

    def __init__(self, url: str, process: int, database: int | None) -> None:
        self._host = url.removeprefix("http://")
        self._process, self._database = process, database
        self._sent = 0
        self._start = time.time() - 3600

    def prepare(self) -> None:
        """Registers the experiment, and exposes its units."""
        self._post("/v1/experiments", {"design": DESIGN.to_json()})
        self._post("/v1/experiments/ranking/phases", {"phase": 1, "start": self._start, "candidate_weight": 0.5})
        for first in range(0, UNITS, BATCH):
            self._post("/v1/exposures", [self._exposure(n) for n in range(first, first + BATCH)])

    def load(self, events: int) -> Load:
        """Sends outcomes of random units in batches, as fast as they are answered."""
        numbers = range(self._sent, self._sent + events, BATCH)
        self._sent += len(numbers) * BATCH
        bodies = [orjson.dumps([self._outcome(n) for n in range(first, first + BATCH)]) for first in numbers]
        cpu = cpu_s(self._process), self._database_cpu()
        started = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(self._send_all, [bodies[place::SENDERS] for place in range(SENDERS)]))
        wall = time.perf_counter() - started
        used = cpu_s(self._process) - cpu[0], self._database_cpu() - cpu[1]
        return Load(len(numbers) * BATCH, wall, *used)

    def fill(self, engine: Engine, events: int) -> None:
        """Puts outcomes of the days before straight into the table of raw events, so that it has a size."""
        step = 50_000
        end = self._sent + events
        for first in range(self._sent, end, step):
            with writing(engine) as connection:
                bulk.insert_new(connection, outcomes, [self._old(n) for n in range(first, min(first + step, end))])
        self._sent += events

    def _old(self, n: int) -> dict[str, object]:
        unit = f"user-{(n * 7919) % UNITS}"
        value = {"metric": "click", "value": MICRO, "time_us": round((self._start - 3600 * (n % 72 + 1)) * SECOND)}
        named = {"unit": unit, "owner": unit, "exposure_id": None, "request_id": None}
        return {"experiment_id": 1, "event_id": f"o{n}", **value, **named}

    def read_s(self) -> float:
        """Seconds of one read-out of the evidence; the best of five."""
        times = []
        for _ in range(5):
            started = time.perf_counter()
            self._request("GET", "/v1/experiments/ranking/evidence", None)
            times.append(time.perf_counter() - started)
        return min(times)

    def _exposure(self, n: int) -> dict[str, object]:
        arm = "candidate" if n % 2 else "baseline"
        digest = "c1" if n % 2 else "b0"
        place = {"unit": f"user-{n}", "phase": 1, "time": self._start + n / UNITS}
        return {"experiment": "ranking", "exposure_id": f"x{n}", "arm": arm, "digest": digest, **place}

    def _outcome(self, n: int) -> dict[str, object]:
        unit = (n * 7919) % UNITS
        metric, value = ("buy", float(n % 97)) if n % 10 == 0 else ("click", 1.0)
        place = {"unit": f"user-{unit}", "time": self._start + 10 + (n // UNITS) * 0.01}
        return {"experiment": "ranking", "event_id": f"o{n}", "metric": metric, "value": value, **place}

    def _database_cpu(self) -> float:
        return 0.0 if self._database is None else sum(cpu_s(process) for process in _family(self._database))

    def _send_all(self, bodies: list[bytes]) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=120)
        for body in bodies:
            connection.request("POST", "/v1/outcomes", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            found = orjson.loads(answer.read())
            if answer.status != 200 or found["refused"]:
                refused = [one for one in found.get("answers", ()) if one["status"] == "refused"]
                raise SystemExit(f"the store answered {answer.status}, first refusal: {refused[:1]}")
        connection.close()

    def _post(self, path: str, document: object) -> None:
        self._request("POST", path, orjson.dumps(document))

    def _request(self, method: str, path: str, body: bytes | None) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=120)
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
        connection.close()


@contextmanager
def running(address: str, folder: Path, database: int | None) -> Iterator[Store]:
    """A store on that database; `database`: process of the server, where there is one."""
    log = folder / "store.log"
    code = "import mgoe; mgoe.main()"
    options = ["evidence", "serve", "--port", "0", "--open", "--migrate", "--database", address]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", code, *options], stdout=output, stderr=output)
    try:
        while (found := re.search(r"listening on http (127\.0\.0\.1:\d+)", log.read_text())) is None:
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        yield Store(f"http://{found[1]}", process.pid, database)
    finally:
        process.terminate()
        process.wait()


def cpu_s(process: int) -> float:
    """CPU seconds of a process with all its threads, 0 where it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _family(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *map(int, children)]
