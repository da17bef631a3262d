"""Runs every contender through the same loads, in one run; servers and client are pinned to cores of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.serving.client import run_client, server_cores
from benchmarks.serving.contenders import Contender, Running, running
from benchmarks.serving.load import Outcome, Reachable, closed_loop, open_loop
from benchmarks.serving.paired import Overhead, overhead
from serving.ranker.choice import Choice, Way
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.scorers import reference

CLIENTS = 16
"""Of the closed loop that finds a server's throughput."""
WARM_S = 0.7
FRACTIONS = (0.3, 0.6, 0.9)
"""Loads of the open loop, of the plain server's throughput."""
LEAST = 300
"""Requests of an open loop, so that a p99 is more than one; a slow server's run is prolonged up to threefold."""


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
    """One contender at one size on so many cores. loads: none for a fast path. overhead: of our servers on one core."""

    model: str
    cores: int
    candidates: int
    contender: str
    capacity: Outcome
    memory_mb: float
    loads: tuple[Outcome, ...] = ()
    overhead: Overhead | None = None


@dataclass(frozen=True)
class World:
    """One model: its bundle, a ranker in this process, and the requests of every size."""

    model: str
    bundle: Path
    ranker: Ranker
    requests: dict[int, list[RankRequest]]
    rates: dict[tuple[int, int], float] = field(default_factory=dict)
    """The plain server's throughput by cores and size."""


def measure(
    worlds: Sequence[World], every: Sequence[Contender], plan: Plan, folder: Path, console: Console
) -> list[Cell]:
    """Every cell, contender by contender. Raises RuntimeError where a contender scores unlike the reference."""
    chosen = [
        each
        for place, each in enumerate(every)
        if place == 0 or not plan.only or any(part in each.name for part in plan.only)
    ]
    cells: list[Cell] = []
    for world in worlds:
        exact = world.ranker.using(Choice.only(Way(reference(world.ranker.bundle))))
        for cores in plan.cores:
            for place, contender in enumerate(chosen):
                if contender.fast_path and cores > 1:
                    continue
                console.print(f"[dim]{world.model}, {cores} core(s): {contender.name}[/]")
                run = folder / f"{world.model}-{cores}-{place}"
                with running(contender, world.bundle, run, server_cores(cores)) as server:
                    _check_scores(contender, server, exact, world.requests[plan.candidates[0]][0])
                    for size in plan.candidates:
                        cells.append(_cell(world, contender, server, cores, size, seconds=plan.seconds))
                        console.print(_line(cells[-1]), highlight=False)
    return cells


def _cell(world: World, contender: Contender, server: Running, cores: int, size: int, *, seconds: float) -> Cell:
    target = contender.target(server.ports, world.requests[size])
    run_client(lambda: closed_loop(target, CLIENTS, WARM_S), cores)
    capacity = run_client(lambda: closed_loop(target, CLIENTS, seconds), cores)
    rate = world.rates.setdefault((cores, size), capacity.throughput)  # the plain server comes first
    with_overhead = cores == 1 and contender.name.startswith("mgoe") and not contender.fast_path
    return Cell(
        *(world.model, cores, size, contender.name, capacity, server.memory_mb()),
        loads=() if contender.fast_path else _loads(target, cores, rate, seconds),
        overhead=overhead(target, world.ranker, world.requests[size], cores) if with_overhead else None,
    )


def _loads(target: Reachable, cores: int, rate: float, seconds: float) -> tuple[Outcome, ...]:
    """Open loops at shares of `rate`."""
    return tuple(
        run_client(lambda share=share: open_loop(target, rate * share, _lasting(rate * share, seconds)), cores)  # type: ignore[misc]
        for share in FRACTIONS
    )


def _lasting(rate: float, seconds: float) -> float:
    return min(max(seconds, LEAST / rate), 3 * seconds)


def _check_scores(contender: Contender, server: Running, exact: Ranker, request: RankRequest) -> None:
    found = np.asarray(contender.answer(server.ports[0], request))
    worst = float(np.abs(found - exact.rank(request).probabilities).max())
    if not worst <= 1e-5:
        raise RuntimeError(f"{contender.name} scores {worst:.1e} away from the reference, so its speed says nothing")


def _line(cell: Cell) -> str:
    loads = "  ".join(f"{load.offered:.0f}/s: p50 {load.p50:.1f} p99 {load.p99:.1f}" for load in cell.loads)
    return f"  {cell.candidates:5d}  {cell.capacity.throughput:7.0f}/s  {loads}  {cell.memory_mb:.0f} MB"
