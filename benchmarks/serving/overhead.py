"""What a call of the model server takes beside scoring: the call and the same scoring in this process, in turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.serving.client import run_client, server_cores
from benchmarks.serving.contenders import Server
from benchmarks.serving.load import one_by_one
from benchmarks.serving.measure import World
from benchmarks.serving.rounds import Spread

ROUNDS = 10
CALLS = 32
"""Of a round, over each transport and in process."""


@dataclass(frozen=True)
class Overhead:
    """p50 in ms, one call at a time, on one core. over: of a round's served p50 less the same round's in process."""

    model: str
    candidates: int
    transport: str
    in_process: Spread
    served: Spread
    over: Spread


def overheads(server: Server, world: World, size: int, rounds: int = ROUNDS) -> list[Overhead]:
    """One for each transport. Raises RuntimeError where a call fails."""
    requests = world.requests[size]
    targets = {transport.name: server.target(requests, transport) for transport in server.transports}
    process: list[float] = []
    served: dict[str, list[float]] = {name: [] for name in targets}
    for turn in range(rounds + 1):
        places = [(turn * CALLS + place) % len(requests) for place in range(CALLS)]
        process.append(_p50(_in_process(lambda place: world.ranker.rank(requests[place]), places)))
        for name, target in targets.items():
            found = run_client(lambda target=target, places=places: one_by_one(target, places), 1)  # type: ignore[misc]
            if len(found) < len(places):
                raise RuntimeError(f"{server.name} over {name}: {len(places) - len(found)} calls failed")
            served[name].append(_p50(found))
    base = process[1:]  # the first round warms up
    return [
        Overhead(
            *(world.model, size, name, Spread.of(base), Spread.of(found[1:])),
            Spread.of([mine - own for mine, own in zip(found[1:], base, strict=True)]),
        )
        for name, found in served.items()
    ]


def _p50(seconds: Sequence[float]) -> float:
    return float(np.median(seconds)) * 1000


def _in_process(call: Callable[[int], object], places: Sequence[int]) -> list[float]:
    """Seconds of each call, on the server's core."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, server_cores(1))
    try:
        seconds = []
        for place in places:
            begin = time.perf_counter()
            call(place)
            seconds.append(time.perf_counter() - begin)
        return seconds
    finally:
        os.sched_setaffinity(0, mine)
