"""Runs every contender through the same loads, in one run; servers and client are pinned to cores of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console

from benchmarks.serving.contenders import Contender, Running, plain_body, running
from benchmarks.serving.load import Outcome, Target, closed_loop, open_loop
from benchmarks.serving.world import draw_requests
from model.artifact.manifest import read_manifest
from serving.ranker.open_inference import answer_object, encode
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings
from serving.ranker.validation import parse_json, parse_request

CLIENTS = 16
"""Of the closed loop that finds a server's throughput."""
FRACTIONS = (0.3, 0.6, 0.9)
"""Loads of the open loop, of the plain server's throughput."""
LEAST = 400
"""Requests of an open loop, so that a p99 is more than one request; a slow server's run is prolonged up to fivefold."""
DISTINCT = 32
"""Requests that are sent in turns."""


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    candidates: tuple[int, ...]
    cores: tuple[int, ...]
    seconds: float
    """Of every single load."""
    only: tuple[str, ...] = ()
    """Parts of names of contenders; all where empty. The plain server always runs."""


@dataclass(frozen=True)
class Cell:
    """One contender at one size on so many cores."""

    model: str
    cores: int
    candidates: int
    contender: str
    capacity: Outcome
    loads: tuple[Outcome, ...]
    memory_mb: float


def measure(
    bundles: dict[str, Path], every: Sequence[Contender], plan: Plan, folder: Path, console: Console
) -> list[Cell]:
    """Every cell, contender by contender. Raises RuntimeError where a contender scores unlike the ranker."""
    chosen = [
        each
        for place, each in enumerate(every)
        if place == 0 or not plan.only or any(part in each.name for part in plan.only)
    ]
    cells: list[Cell] = []
    for model, bundle in bundles.items():
        requests = {size: draw_requests(bundle, size, DISTINCT) for size in plan.candidates}
        ranker = Ranker.load(bundle, RankerSettings(scorers=("eager",), cache=folder / "cache"))
        for cores in plan.cores:
            rates: dict[int, float] = {}
            for place, contender in enumerate(chosen):
                console.print(f"[dim]{model}, {cores} core(s): {contender.name}[/]")
                with running(contender, bundle, folder / f"{model}-{cores}-{place}", _server_cores(cores)) as server:
                    _check_scores(contender, server, ranker, requests[plan.candidates[0]][0])
                    for size in plan.candidates:
                        target = contender.target(server.ports, requests[size])
                        key = (model, cores, size, contender.name)
                        capacity, loads = _loads(target, cores, rates.get(size), plan.seconds)
                        rates.setdefault(size, capacity.throughput)
                        cell = Cell(*key, capacity, loads, server.memory_mb())
                        cells.append(cell)
                        console.print(_line(cell), highlight=False)
    return cells


def in_process(bundle: Path, size: int, cache: Path, calls: int) -> dict[str, float]:
    """p50 in milliseconds of scoring alone, and of a whole call without a server: parse, score, write."""
    ranker = Ranker.load(bundle, RankerSettings(cache=cache))
    requests = draw_requests(bundle, size, DISTINCT)
    bodies = [plain_body(request) for request in requests]

    def whole(place: int) -> None:
        value = parse_json(bodies[place], ranker.settings.limits)
        parsed = parse_request(value, ranker.settings.limits, ranker.tasks, ranker.context_features)
        encode(answer_object(ranker.rank(parsed)))

    return {
        "rank": _p50(lambda place: ranker.rank(requests[place]), calls),
        "parse, rank, write": _p50(whole, calls),
    }


def digest_of(bundle: Path) -> str:
    return read_manifest(bundle).digest[:12]


def _loads(target: Target, cores: int, rate: float | None, seconds: float) -> tuple[Outcome, tuple[Outcome, ...]]:
    """Capacity, and the open loops. rate: the plain server's throughput; None: this is the plain server."""
    _run(lambda: closed_loop(target, CLIENTS, min(seconds, 2.0)), cores)  # warms up
    capacity = _run(lambda: closed_loop(target, CLIENTS, seconds), cores)
    whole = rate or capacity.throughput
    shares = tuple(
        _run(lambda share=share: open_loop(target, whole * share, _lasting(whole * share, seconds)), cores)  # type: ignore[misc]
        for share in FRACTIONS
    )
    return capacity, shares


def _lasting(rate: float, seconds: float) -> float:
    return min(max(seconds, LEAST / rate), 5 * seconds)


def _check_scores(contender: Contender, server: Running, ranker: Ranker, request: RankRequest) -> None:
    found = np.asarray(contender.probabilities(server.answer(contender, request)))
    worst = float(np.abs(found - ranker.rank(request).probabilities).max())
    if not worst <= 1e-5:
        raise RuntimeError(f"{contender.name} scores {worst:.1e} away from the ranker, so its speed says nothing")


def _server_cores(count: int) -> list[int]:
    """The machine's first cores; the client has the last one, which servers on all cores share with it."""
    return sorted(os.sched_getaffinity(0))[:count]


def _run(load: Callable[[], object], cores: int) -> Outcome:
    """Runs the client on the cores that the server leaves."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, mine[cores:] or mine)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(load())  # type: ignore[arg-type]
    finally:
        os.sched_setaffinity(0, mine)


def _p50(call: Callable[[int], object], calls: int) -> float:
    seconds = []
    for turn in range(calls + DISTINCT):
        begin = time.perf_counter()
        call(turn % DISTINCT)
        if turn >= DISTINCT:
            seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds)) * 1000


def _line(cell: Cell) -> str:
    loads = "  ".join(f"{load.offered:.0f}/s: p50 {load.p50:.1f} p99 {load.p99:.1f}" for load in cell.loads)
    return f"  {cell.candidates:5d}  {cell.capacity.throughput:7.0f}/s  {loads}  {cell.memory_mb:.0f} MB"
