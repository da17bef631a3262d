"""Real gateways before small rankers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.gateway.access_log import ExposureRecord, parse
from serving.gateway.config import GatewayConfig
from serving.gateway.envoy import Envoy
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.gateway.split import Split
from tests.serving.gateway.client import Client
from tests.serving.gateway.upstream import GrpcUpstream, Upstream

SALT = "salt-1"
HEALTH = {"interval": 0.1, "timeout": 0.5}
"""Tests do not wait a second for what is found out in a tenth."""
PATIENT: dict[str, Mapping[str, Any]] = {
    "health": {"interval": 0.1, "timeout": 20, "unhealthy": 100},
    "timeouts": {"request": 20},
}
"""For rankers that do not fail: on a busy machine one may be slow, and is not to be taken for ill."""
_WORKERS_S = 0.02
"""What Envoy's main thread tells of, its workers have within the same moment."""


def config_of(
    baseline: list[dict[str, Any]], candidate: list[dict[str, Any]], **options: Mapping[str, Any]
) -> GatewayConfig:
    whole: dict[str, Any] = {
        "experiment": {"id": "exp-1", "salt": SALT},
        "baseline": {"endpoints": baseline},
        "candidate": {"endpoints": candidate},
        "listener": {"port": 0},
        "health": HEALTH,
    }
    return GatewayConfig.model_validate(whole | options)


def endpoint(upstream: Upstream, grpc: GrpcUpstream | None = None) -> dict[str, Any]:
    return {"host": "127.0.0.1", "http": upstream.port, "grpc": None if grpc is None else grpc.port}


@dataclass
class Gateway:
    """A running gateway."""

    envoy: Envoy

    @property
    def folder(self) -> GatewayFolder:
        return self.envoy.folder

    @property
    def live(self) -> LiveSplit:
        return LiveSplit(self.folder)

    def client(self) -> Client:
        return Client(self.envoy.port)

    def set(self, percent: float, mirror: float | None = None) -> Split:
        split = self.live.set_weights(round(percent * 100), mirror=None if mirror is None else round(mirror * 100))
        time.sleep(_WORKERS_S)
        return split

    def lines(self, count: int) -> list[dict[str, Any]]:
        """The log, once it has so many lines."""

        def enough() -> bool:
            return len(self.folder.access_log.read_bytes().splitlines()) >= count

        wait_for(enough, "lines of the access log")
        return [json.loads(line) for line in self.folder.access_log.read_bytes().splitlines()]

    def records(self, count: int) -> list[ExposureRecord]:
        """What the log says of rankings, once it has so many lines."""
        self.lines(count)
        return [record for line in self.folder.access_log.read_bytes().splitlines() for record in parse(line)]

    def wait_healthy(self, baseline: int, candidate: int) -> None:
        def so() -> bool:
            hosts = self.live.hosts()
            return (hosts["baseline"].healthy, hosts["candidate"].healthy) == (baseline, candidate)

        wait_for(so, f"{baseline} and {candidate} healthy rankers")
        time.sleep(_WORKERS_S)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def gateway(root: Path, config: GatewayConfig, *, settle_s: float = 0.0) -> Iterator[Gateway]:
    with Envoy(GatewayFolder(root), config, settle_s=settle_s, drain_s=5) as envoy:
        started = Gateway(envoy)
        started.wait_healthy(len(config.baseline.endpoints), len(config.candidate.endpoints))
        yield started
