"""The store under load: the real process over HTTP, and the CPU time of it and of its database."""

from __future__ import annotations

import http.client
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import orjson
from sqlalchemy import Engine

from serving.evidence import aggregate_store, bulk, experiment_store, unit_store
from serving.evidence.contribution import Change, deltas
from serving.evidence.engine import writing
from serving.evidence.event import MICRO, SECOND, Exposure, Outcome
from serving.evidence.schema import exposures, outcomes
from serving.evidence.unit import UnitState, replay
from serving.experiment.design import Design, Metric
from serving.gateway.assignment import Arm

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


HISTORY = 50
"""Outcomes of a unit in what is there before."""


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
        self._ids = itertools.count()
        self._start = time.time() - 3600
        self._clock = 0.0
        """Seconds after the start, as events tell it."""
        self._phase = 0

    def prepare(self) -> None:
        """Registers the experiment, and exposes its units."""
        self._request("POST", "/v1/experiments", orjson.dumps({"design": DESIGN.to_json()}))
        self.begin_phase()
        self.exposures(UNITS)

    def begin_phase(self) -> None:
        """The next step of a ramp."""
        self._clock += 10
        self._phase += 1
        start = {"phase": self._phase, "start": self._start + self._clock, "candidate_weight": 0.5}
        self._request("POST", "/v1/experiments/ranking/phases", orjson.dumps(start))

    def outcomes(self, events: int) -> Load:
        """Outcomes of units, by their name."""
        self._clock += 10
        return self._send("outcomes", [self._outcome(n, unit=unit_of(n)) for n in range(events)])

    def exposures(self, events: int) -> Load:
        """One exposure of each of the first units, in the latest phase."""
        self._clock += 10
        return self._send("exposures", [self._exposure(n) for n in range(events)])

    def outcomes_before_exposures(self, events: int) -> Load:
        """Outcomes that name an exposure, half of the events, and then these exposures."""
        self._clock += 10
        shown = [self._exposure(n) for n in range(events // 2)]
        done = [self._outcome(n, exposure_id=each["exposure_id"]) for n, each in enumerate(shown)]
        first, second = self._send("outcomes", done), self._send("exposures", shown)
        return Load(*(a + b for a, b in zip(astuple(first), astuple(second), strict=True)))

    def exposures_after_outcomes(self, events: int) -> Load:
        """First exposures of the next phase whose units had outcomes after them, by name: each replays its unit."""
        self.begin_phase()
        shown = [self._exposure(n) for n in range(events)]
        self._clock += 5
        self._send("outcomes", [self._outcome(n, unit=f"user-{n}") for n in range(events)])
        return self._send("exposures", shown)

    def fill(self, engine: Engine, events: int) -> None:
        """Puts units with a history into the store, as the intake would have, without a request for each."""
        step = 500
        units = events // HISTORY
        for first in range(0, units, step):
            with writing(engine) as connection:
                experiment = experiment_store.lock_one(connection, "ranking")
                names = [f"old-{next(self._ids)}" for _ in range(min(step, units - first))]
                shown = {name: self._old_exposure(name, n) for n, name in enumerate(names)}
                done = {name: [self._old_outcome(name, n) for n in range(HISTORY)] for name in names}
                bulk.insert_new(connection, exposures, unit_store.exposure_records(experiment, shown.values()))
                records = [
                    unit_store.outcome_record(experiment, each, each.unit) for name in names for each in done[name]
                ]
                bulk.insert_new(connection, outcomes, records)
                states = {name: replay(UnitState(), [shown[name]], done[name], experiment.catalogue) for name in names}
                unit_store.save(connection, experiment, {}, states)
                changes = [Change(None, state) for state in states.values()]
                sums = deltas(changes, experiment.catalogue, experiment.settled_us)
                aggregate_store.add(connection, experiment, sums)

    def read_s(self) -> float:
        """Seconds of one read-out of the evidence; the best of five."""
        times = []
        for _ in range(5):
            started = time.perf_counter()
            self._request("GET", "/v1/experiments/ranking/evidence", None)
            times.append(time.perf_counter() - started)
        return min(times)

    def _exposure(self, n: int) -> dict[str, object]:
        arm, digest = arm_of(n)
        place = {"unit": f"user-{n}", "phase": self._phase, "time": self._start + self._clock}
        named = {"exposure_id": f"x{next(self._ids)}", "request_id": f"r{next(self._ids)}"}
        return {"experiment": "ranking", "arm": arm, "digest": digest, **place, **named}

    def _outcome(self, n: int, **named: object) -> dict[str, object]:
        metric, value = ("buy", float(n % 97)) if n % 10 == 0 else ("click", 1.0)
        place = {"event_id": f"o{next(self._ids)}", "time": self._start + self._clock}
        return {"experiment": "ranking", "metric": metric, "value": value, **place, **named}

    def _old_exposure(self, unit: str, n: int) -> Exposure:
        arm, digest = arm_of(n)
        time_us = round((self._start + 10) * SECOND)
        return Exposure("ranking", f"x-{unit}", unit, arm, digest, 1, time_us, request_id=f"r-{unit}")

    def _old_outcome(self, unit: str, n: int) -> Outcome:
        return Outcome("ranking", f"o-{unit}-{n}", "click", MICRO, round((self._start + 11) * SECOND) + n, unit)

    def _database_cpu(self) -> float:
        if self._database is None:
            return 0.0
        return ended_s(self._database) + sum(cpu_s(process) for process in _family(self._database))

    def _send(self, path: str, events: list[dict[str, object]]) -> Load:
        """Sends events in batches, as fast as they are answered."""
        bodies = [orjson.dumps(events[first : first + BATCH]) for first in range(0, len(events), BATCH)]
        cpu = cpu_s(self._process), self._database_cpu()
        started = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(partial(self._send_all, path), [bodies[place::SENDERS] for place in range(SENDERS)]))
        wall = time.perf_counter() - started
        used = cpu_s(self._process) - cpu[0], self._database_cpu() - cpu[1]
        return Load(len(events), wall, *used)

    def _send_all(self, path: str, bodies: list[bytes]) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=120)
        for body in bodies:
            connection.request("POST", f"/v1/{path}", body, _JSON)
            answer = connection.getresponse()
            found = orjson.loads(answer.read())
            if answer.status != 200 or found["refused"]:
                refused = [one for one in found.get("answers", ()) if one["status"] == "refused"]
                raise SystemExit(f"the store answered {answer.status}, first refusal: {refused[:1]}")
        connection.close()

    def _request(self, method: str, path: str, body: bytes | None) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=120)
        connection.request(method, path, body, _JSON)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
        connection.close()


_JSON = {"content-type": "application/json"}


def unit_of(n: int) -> str:
    """A unit, all over the place."""
    return f"user-{n * 7919 % UNITS}"


def arm_of(n: int) -> tuple[Arm, str]:
    """The arm of a unit, and the digest that answers there."""
    return ("candidate", "c1") if n % 2 else ("baseline", "b0")


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
    return _ticks(process, 11, 12) / os.sysconf("SC_CLK_TCK")


def ended_s(process: int) -> float:
    """CPU seconds of children of a process that have ended."""
    return _ticks(process, 13, 14) / os.sysconf("SC_CLK_TCK")


def _ticks(process: int, *places: int) -> int:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(fields[place]) for place in places)


def _family(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *map(int, children)]
