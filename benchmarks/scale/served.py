"""One bundle in the real server: by one worker, then by two that share what is mapped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.client import run_client, server_cores
from benchmarks.serving.contenders import Server, kserve, serving
from benchmarks.serving.load import Outcome, Reachable, closed_loop, open_loop
from benchmarks.serving.world import draw_requests
from model.bundle.bundle import open_bundle
from model.bundle.footprint import Footprint, footprint

CANDIDATES = 500
REQUESTS = 256
CLIENTS = 16
SHARE = 0.3
"""Load of the open loop, of the throughput."""


@dataclass(frozen=True)
class Load:
    """How long it is loaded: closed_s of throughput in each round, open_s of latencies."""

    rounds: int
    closed_s: float
    open_s: float


@dataclass(frozen=True)
class Memory:
    """Megabytes of all workers. resident: a page counts in each that maps it; shared: once (PSS); dirty: what a worker
    has to itself."""

    resident: float
    shared: float
    dirty: float


@dataclass(frozen=True)
class Served:
    """What was measured of one bundle. load_s: to ready, the first time, and with what the first has computed."""

    bundle: Path
    footprint: Footprint
    computed_mb: float
    """Item parts and compiled scorers that were left for other workers."""
    load_s: tuple[float, float]
    one: Memory
    two: Memory
    throughput: float
    latency: Outcome


def serve(bundle: Path, folder: Path, load: Load, rate: float | None = None) -> Served:
    """Serves it twice. Raises RuntimeError with the server's log where it does not come up.

    rate: requests a second of the open loop; None: `SHARE` of what it can do.
    """
    cache = folder / "cache"
    contender = kserve(cache)
    requests = draw_requests(bundle, CANDIDATES, REQUESTS)
    began = time.monotonic()
    with serving(contender, bundle, folder / "one", server_cores(1)) as server:
        first_s = time.monotonic() - began
        target = server.target(requests)
        rates = [_closed(target, load).throughput for _ in range(load.rounds)]
        latency = [_open(target, rate or SHARE * min(rates), load.open_s, seed) for seed in range(load.rounds)]
        one = _memory(server)
    began = time.monotonic()
    with serving(contender, bundle, folder / "two", server_cores(1) * 2) as server:
        again_s = time.monotonic() - began
        _closed(server.target(requests), load)
        two = _memory(server)
    computed = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6
    size = footprint(bundle, open_bundle(bundle))
    return Served(bundle, size, computed, (first_s, again_s), one, two, max(rates), Outcome.pooled(latency))


def _closed(target: Reachable, load: Load) -> Outcome:
    return run_client(lambda: closed_loop(target, CLIENTS, load.closed_s), 1)


def _open(target: Reachable, rate: float, seconds: float, seed: int) -> Outcome:
    return run_client(lambda: open_loop(target, rate, seconds, seed), 1)


def _memory(server: Server) -> Memory:
    running = server.running
    return Memory(running.memory_mb("Rss"), running.memory_mb("Pss"), running.memory_mb("Private_Dirty"))
