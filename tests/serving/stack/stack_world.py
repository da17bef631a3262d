"""A real stack of small trained models, users at its gateway, and ways to hurt it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from model.artifact.manifest import read_manifest
from model.data.schema_file import SCHEMA_NAME, load_schema
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.status_text import status_of
from serving.traffic.log_design import metrics_of, rollout_metrics

RATE = 20
WAIT_S = 150.0
"""Of whatever is waited for: other tests may be at work on the same cores."""


@dataclass
class StackWorld:
    """folder: the state. log: whose users come."""

    folder: Path
    log: Path
    baseline: Path
    candidate: Path
    slowest_s: dict[str, float] = field(default_factory=dict)
    """By process: until it was ready again after it was killed."""

    def mgoe(self, *words: object, code: int | None = 0) -> str:
        """`mgoe ...`, as a person types it."""
        command = [sys.executable, "-m", "mgoe", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, env=_environment())
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def up(self, *options: object) -> None:
        bundles = ("--baseline", self.baseline, "--candidate", self.candidate)
        self.mgoe("up", "--state", self.folder, *bundles, *options)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.mgoe("status", "--state", self.folder, "--json", code=None))
        return found

    def address(self, name: str) -> str:
        return str(self.status()["processes"][name]["address"])

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, (
                f"not within {WAIT_S:g} s: {what}\n{json.dumps(self.status(), indent=1)}"
            )
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """kill -9, and wait until another process does its work."""
        pid = int(self.status()["processes"][name]["pid"])
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)

        def back() -> bool:
            one: dict[str, object] = self.status()["processes"][name]
            return one["state"] == "ready" and one["pid"] != pid

        self.wait(back, f"{name} after its end")
        self.slowest_s[name] = time.monotonic() - began

    @property
    def live(self) -> LiveSplit:
        return LiveSplit(GatewayFolder(self.folder / "gateway"))

    @property
    def rollouts(self) -> SqliteStore:
        return SqliteStore(self.folder / "rollouts.db")

    def begin(self) -> str:
        """A rollout that stays at half and half for long; gives its experiment's name."""
        spec = {
            "baseline": {"bundle": self.baseline.as_uri(), "digest": read_manifest(self.baseline).digest},
            "candidate": {"bundle": self.candidate.as_uri(), "digest": read_manifest(self.candidate).digest},
            "driver": {"type": "local", "services": {"baseline": "baseline", "candidate": "candidate"}},
            "steps": [{"weight": 50, "minSeconds": 86_000, "minUnits": 1_000_000}],
            "metrics": rollout_metrics(metrics_of(load_schema(self.log / SCHEMA_NAME))),
            "whenBlind": {"seconds": 3600},
        }
        document = {"apiVersion": "mgoe.dev/v1alpha1", "kind": "ModelRollout", "metadata": {"name": "feed"}}
        file = self.folder / "feed.yaml"
        file.write_text(yaml.safe_dump({**document, "spec": spec}))
        self.mgoe("rollout", "create", file, "--store", self.folder / "rollouts.db")
        self.wait(lambda: status_of(self.rollouts.read("feed")).phase == "Ramping", "the ramp")
        self.wait(lambda: self.live.weights().candidate_weight == 5000, "half of the users at the router")
        return f"{self.rollouts.read('feed').identity}.1"

    @contextlib.contextmanager
    def users(self, experiment: str, *options: object) -> Iterator[dict[str, Any]]:
        """Simulated users while the body runs; what they counted is in the dictionary afterwards."""
        summary = self.folder / "traffic.json"
        command: list[object] = [sys.executable, "-m", "mgoe", "traffic", "replay", self.log, "--quiet"]
        command += ["--gateway", self.address("gateway"), "--evidence", self.address("evidence")]
        command += ["--experiment", experiment, "--rate", RATE, "--duration", 900, "--summary", summary, *options]
        said = self.folder / "traffic.log"
        counted: dict[str, Any] = {}
        with said.open("wb") as file:
            users = subprocess.Popen([str(word) for word in command], stdout=file, stderr=file, env=_environment())
            try:
                time.sleep(8)
                assert users.poll() is None, said.read_text()
                yield counted
                time.sleep(3)
            finally:
                users.send_signal(signal.SIGINT)
                code = users.wait(90)
        assert code == 0, said.read_text()
        counted.update(json.loads(summary.read_text()))

    def sums(self, experiment: str, metric: str) -> dict[str, float]:
        """What the evidence has of a metric over both arms: value and denominator."""
        address = f"{self.address('evidence')}/v1/experiments/{experiment}/evidence"
        document = httpx.get(address, trust_env=False, timeout=30).json()
        (of,) = (each for each in document["metrics"] if each["metric"] == metric)
        found = {"value": 0.0, "denominator": 0.0}
        for stratum in of["strata"]:
            for aggregate in stratum["arms"].values():
                for name, mean in zip(aggregate["names"], aggregate["mean"], strict=True):
                    found[name] += round(mean * aggregate["count"])
        return found


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
