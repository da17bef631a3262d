"""The parts of the benchmark, most telling first; after each the report is handed on, so that a stop loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import SubprocessError
from time import monotonic

from rich.console import Console

from benchmarks.serving.contenders import FAST_PATHS, kserve, plain, stock, torchserve, unbatched
from benchmarks.serving.measure import Cell, Plan, World, together
from benchmarks.serving.memory import memory_of
from benchmarks.serving.overhead import overheads
from benchmarks.serving.tables import Report, throughput

PARTS = ("main", "memory", "fast", "torchserve", "batching")


@dataclass(frozen=True)
class Schedule:
    """main, torchserve: by number of candidates."""

    cores: tuple[int, ...]
    main: dict[int, Plan]
    fast: Plan
    torchserve: dict[int, Plan]
    batching_rounds: int
    batching_s: float
    overhead_rounds: int
    memory_s: float
    small: bool = False
    parts: tuple[str, ...] = PARTS
    within_s: float = 18 * 60
    """No part but the first begins later than this."""


FAILURES = (RuntimeError, OSError, SubprocessError)
"""What ends one part and not the run."""
SHARES = (0.3, 0.6, 0.9)
OTHER = Plan(rounds=3, seconds=1.0, shares=SHARES, load_rounds=2, load_s=(1.0, 1.5), requests=400)
AT_500 = Plan(rounds=5, seconds=1.0, shares=SHARES, load_rounds=3, load_s=(1.0, 5.5), requests=1050)
FULL = Schedule(
    cores=(1, 2),
    main={500: AT_500, 50: OTHER, 2000: OTHER},
    fast=Plan(rounds=3, seconds=1.0, shares=(0.6,), load_rounds=3, load_s=(1.0, 3.0), requests=1050),
    torchserve=dict.fromkeys((50, 500, 2000), Plan(rounds=2, seconds=1.0)),
    batching_rounds=7,
    batching_s=1.5,
    overhead_rounds=10,
    memory_s=4.0,
)
_BRIEF = Plan(rounds=2, seconds=0.3, shares=(0.3, 0.9), load_rounds=2, load_s=(0.3, 0.4))
QUICK = Schedule(
    cores=(1, 2),
    main=dict.fromkeys((500, 50, 2000), _BRIEF),
    fast=replace(_BRIEF, shares=(0.6,)),
    torchserve=dict.fromkeys((50, 500, 2000), Plan(rounds=2, seconds=0.3)),
    batching_rounds=2,
    batching_s=0.3,
    overhead_rounds=2,
    memory_s=0.5,
    small=True,
)
BATCHED = 50
"""Candidates where batches gain most."""
LOW = 0.3
"""Load with and without batches, of the plain server's throughput on one core."""


@dataclass
class Run:
    """One run over all models. save: called with the report after every part of every model."""

    worlds: Sequence[World]
    schedule: Schedule
    folder: Path
    console: Console
    save: Callable[[Report], None]
    report: Report = field(default_factory=Report)
    begun: float = field(default_factory=monotonic)

    def all(self) -> Report:
        """A part that fails, as where a server does not start or scores wrongly, is left out, and why is said."""
        parts = {
            "main": self._main,
            "fast": self._fast_paths,
            "batching": self._batching,
            "torchserve": self._torchserve,
            "memory": self._memory,
        }
        for name in self.schedule.parts:
            for world in self.worlds:
                if name != PARTS[0] and monotonic() - self.begun > self.schedule.within_s:
                    self._say(f"{world.model}: {name} is left out for want of time")
                    self.report.left_out.append(f"{name} of {world.model}, for want of time")
                    continue
                try:
                    parts[name](world)
                except FAILURES as error:
                    why = (str(error).strip() or type(error).__name__).splitlines()[0]
                    self._say(f"{world.model}: {name} failed: {error}")
                    self.report.failed.append(f"{name} of {world.model}: {why}")
                self.save(self.report)
        return self.report

    def _main(self, world: World) -> None:
        for cores in self.schedule.cores:
            self._say(f"{world.model}: plain and ours on {cores} core(s)")
            with together(world, [plain(), kserve(world.cache)], cores, self.folder / "main") as group:
                for cell in group.cells(self.schedule.main):
                    self._keep(self.report.main, cell)
                if cores == 1:
                    for size in sorted(self.schedule.main):
                        found = overheads(group.servers[1], world, size, self.schedule.overhead_rounds)
                        self.report.overheads += found
                        for each in found:
                            self._say(f"  {size} candidates, {each.transport}: {each.over.text()} ms over in process")
            self.save(self.report)

    def _fast_paths(self, world: World) -> None:
        self._say(f"{world.model}: every fast path on one core")
        alone = [kserve(world.cache, (name,), f"mgoe on KServe, {name} alone") for name in FAST_PATHS]
        with together(world, [plain(), *alone], 1, self.folder / "fast") as group:
            for cell in group.cells({500: self.schedule.fast}):
                self._keep(self.report.fast_paths, cell)

    def _batching(self, world: World) -> None:
        self._say(f"{world.model}: with and without batches")
        measured = [cell for cell in self.report.main if _is(cell, world.model, 1, BATCHED)]
        if not measured:
            raise RuntimeError("main has no figure to load a share of")
        rate = LOW * _capacity(measured[0])
        seconds = self.schedule.batching_s
        with together(world, [unbatched(world.cache), kserve(world.cache)], 1, self.folder / "batching") as group:
            cell = group.at_rate(BATCHED, rate, seconds, self.schedule.batching_rounds, share=LOW)
        self._keep(self.report.batching, cell)

    def _torchserve(self, world: World) -> None:
        self._say(f"{world.model}: TorchServe")
        contenders = [plain(), stock(), torchserve(world.cache)]
        with together(world, contenders, 1, self.folder / "torchserve") as group:
            for cell in group.cells(self.schedule.torchserve):
                self._keep(self.report.torchserve, cell)

    def _memory(self, world: World) -> None:
        self._say(f"{world.model}: memory of one worker and two")
        cache = self.folder / f"cache-large-{world.model}"
        contender = kserve(cache, ("factorised",))
        quick, seconds = self.schedule.small, self.schedule.memory_s
        found = memory_of(contender, world.bundle, self.folder, cache, quick=quick, seconds=seconds)
        self.report.memory[world.model] = found

    def _keep(self, cells: list[Cell], cell: Cell) -> None:
        cells.append(cell)
        for name in cell.throughput.outcomes:
            per_second = cell.throughput.of(name, throughput).text(0)
            loads = "  ".join(f"{share}: p99 {each.pooled(name).p99:.1f}" for share, each in cell.loads.items())
            self._say(f"  {cell.candidates:5d} {name}: {per_second}/s  {loads}")

    def _say(self, line: str) -> None:
        self.console.print(f"[dim]{monotonic() - self.begun:5.0f} s[/]  {line}", highlight=False)


def _is(cell: Cell, model: str, cores: int, candidates: int) -> bool:
    return (cell.model, cell.cores, cell.candidates) == (model, cores, candidates)


def _capacity(cell: Cell) -> float:
    return cell.throughput.of(cell.throughput.base, throughput).median
