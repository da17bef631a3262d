"""All of it on one machine: two rankers, a real Envoy, the real evidence service, the local controller, the CLI."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner

from serving.rollout.commands import app
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.status import ModelRolloutStatus
from tests.serving.evidence.evidence_process import ROOT, StoreProcess
from tests.serving.gateway.client import Client
from tests.serving.gateway.gateways import Gateway, config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import Upstream, running
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE

NAME = "feed"
SPEC: dict[str, Any] = {
    "baseline": {"bundle": "file:///bundles/mmoe", "digest": BASELINE},
    "candidate": {"bundle": "file:///bundles/mgoe", "digest": CANDIDATE},
    "driver": {"type": "local", "services": {"baseline": "mmoe", "candidate": "mgoe"}},
    "steps": [{"weight": 20, "minSeconds": 1, "minUnits": 30}, {"weight": 50, "minSeconds": 1, "minUnits": 60}],
    "metrics": [{"name": "clicks", "kind": "Proportion", "value": "click", "role": "Primary"}],
    "guardrails": [{"name": "errors", "type": "ErrorRate", "max": 0.2, "minRequests": 20, "windowSeconds": 5}],
    "analysis": {"burnInUnits": 20, "plannedUnits": 400},
    "promotion": {"bakeSeconds": 1},
}


class Ranker(Upstream):
    """A ranker that tells which bundle it serves."""

    @property
    def digest(self) -> str:
        return BASELINE if self.arm == "baseline" else CANDIDATE

    async def rank(self, request: Request) -> Response:
        if request.url.path == "/v2/models":
            return JSONResponse({"models": ["mgoe"]})
        if request.url.path == "/v2/models/mgoe":
            return JSONResponse({"name": "mgoe", "properties": {"digest": self.digest}})
        return await super().rank(request)


@dataclass
class Visitors:
    """Units that ask for rankings and click as planted."""

    port: int
    evidence: httpx.Client
    experiment: str
    clicks: dict[str, float]
    """By arm, the share of units that click."""
    statuses: list[tuple[float, str | None, int]] = field(default_factory=list)
    """Monotonic time, arm and status of every answer."""
    _end: threading.Event = field(default_factory=threading.Event)

    def _visit(self) -> None:
        client, outcomes = Client(self.port), []
        for number in range(10**9):
            if self._end.is_set():
                break
            answer = client.rank(f"unit-{number}")
            self.statuses.append((time.monotonic(), answer.arm, answer.status))
            # A share of the units by their number: as good as chance, and the same in every run.
            clicks = answer.arm is not None and (number * 0.618034) % 1.0 < self.clicks[answer.arm]
            if clicks and answer.status == 200:
                outcomes.append(
                    {
                        "experiment": self.experiment,
                        "event_id": f"click-{number}",
                        "metric": "click",
                        "time": time.time(),
                        "exposure_id": answer.headers["x-mgoe-exposure-id"],
                    }
                )
            if len(outcomes) == 20:
                self.evidence.post("/v1/outcomes", json=outcomes)
                outcomes = []
            self._end.wait(0.004)
        client.close()

    @contextlib.contextmanager
    def visiting(self) -> Iterator[Visitors]:
        thread = threading.Thread(target=self._visit)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def candidate_after(self, moment: float) -> int:
        """Requests that the candidate got after a moment."""
        return sum(arm == "candidate" for at, arm, _ in self.statuses if at > moment)


@dataclass
class Whole:
    """The machine."""

    gateway: Gateway
    rankers: tuple[Ranker, Ranker]
    store: Path
    evidence: httpx.Client
    controller: subprocess.Popen[bytes]
    log: Path

    def mgoe(self, *arguments: str) -> str:
        """`mgoe rollout ...`, as a person types it."""
        result = CliRunner().invoke(app, [*arguments, "--store", str(self.store)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    def create(self, folder: Path, **changes: object) -> None:
        """The example's rollout."""
        file = folder / "rollout.yaml"
        document = {"apiVersion": "mgoe.dev/v1alpha1", "kind": "ModelRollout", "metadata": {"name": NAME}}
        file.write_text(yaml.safe_dump({**document, "spec": {**SPEC, **changes}}))
        self.mgoe("create", str(file))

    def status(self) -> ModelRolloutStatus:
        return ModelRolloutStatus.model_validate(SqliteStore(self.store).read(NAME).status)

    def reasons(self) -> list[str]:
        return [line.reason for line in self.status().history]

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
        try:
            wait_for(condition, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.mgoe('status', NAME)}\n{self.log.read_text()[-4000:]}") from error

    def routed(self) -> float:
        """Candidate's percent in Envoy's own route table."""
        return self.gateway.live.weights().candidate_weight / 100

    @contextlib.contextmanager
    def visitors(self, baseline: float, candidate: float) -> Iterator[Visitors]:
        experiment = f"{SqliteStore(self.store).read(NAME).identity}.1"
        clicks = {"baseline": baseline, "candidate": candidate}
        with Visitors(self.gateway.envoy.port, self.evidence, experiment, clicks).visiting() as visitors:
            yield visitors


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Whole]:
    """Everything started, nothing created."""
    store, log = folder / "rollouts.db", folder / "controller.log"
    rankers = Ranker("baseline"), Ranker("candidate")
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(*rankers))
        config = config_of([endpoint(rankers[0])], [endpoint(rankers[1])])
        started = stack.enter_context(gateway(folder / "gateway", config))
        options = ("--open", "--migrate", "--access-log", str(started.folder.access_log))
        process = stack.enter_context(StoreProcess(f"sqlite:///{folder}/evidence.db", folder, *options))
        client = stack.enter_context(httpx.Client(base_url=process.url, timeout=30))
        command = [sys.executable, "-m", "mgoe", "rollout", "controller", "--store", str(store), "--interval", "0.5"]
        command += ["--gateway", str(started.folder.root), "--evidence", process.url, "--port", "0"]
        file = stack.enter_context(log.open("wb"))
        controller = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env=dict(os.environ))
        try:
            wait_for(
                lambda: b"looked at every" in log.read_bytes() or controller.poll() is not None, "the controller", 60
            )
            assert controller.poll() is None, log.read_text()
            yield Whole(started, rankers, store, client, controller, log)
        finally:
            controller.terminate()
            assert controller.wait(20) == 0, log.read_text()
