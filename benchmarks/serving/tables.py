"""From what was measured to the tables of the results; a table of a part that has not run yet has no rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.results import Row
from benchmarks.serving.load import Outcome
from benchmarks.serving.measure import Cell
from benchmarks.serving.memory import Memory
from benchmarks.serving.overhead import Overhead
from benchmarks.serving.rounds import Rounds

MOST_OVERHEAD_MS = 2.0
LEAST_TIMES = 5.0
AIMED_SIZE = 500
SHARED = "with two cores, servers and client share both"
TURNS = "in turns, median of the rounds' ratios (least to largest)"


@dataclass
class Report:
    """What is measured so far, by part. main: this server and the plain one."""

    main: list[Cell] = field(default_factory=list)
    overheads: list[Overhead] = field(default_factory=list)
    fast_paths: list[Cell] = field(default_factory=list)
    batching: list[Cell] = field(default_factory=list)
    memory: dict[str, Memory] = field(default_factory=dict)
    torchserve: list[Cell] = field(default_factory=list)

    left_out: list[str] = field(default_factory=list)
    """Parts that did not run for want of time."""
    failed: list[str] = field(default_factory=list)
    """Parts that ended in an error, and which."""

    def tables(self) -> dict[str, list[Row]]:
        """Title to rows, the aims first."""
        return {
            "Aims" + (f" (not measured: {'; '.join(missing)})" if (missing := self.left_out + self.failed) else ""): [
                *_throughput_aims(self.main),
                *_latency_aims(self.main),
                *_overhead_aims(self.overheads),
                *_memory_aims(self.memory),
            ],
            f"Throughput, requests a second (closed loop, 16 clients), {TURNS}; {SHARED}": _throughput(self.main),
            "Latency in ms from the scheduled moment (open loop, Poisson) at the same rates, shares of the plain "
            f"server's throughput; {SHARED}": _latency(self.main),
            "Fast paths, each alone through the server, on one core (two cores left out): throughput": _throughput(
                self.fast_paths
            ),
            "Fast paths: latency in ms at the same rate": _latency(self.fast_paths),
            "KServe over scoring in process, p50 in ms, one call at a time on one core, in turns": [
                _overhead(each) for each in self.overheads
            ],
            "Batches over none at a low load on one core (open loop), in turns": _latency(self.batching),
            "TorchServe on one core (two cores and open loops left out): throughput": _throughput(self.torchserve),
            "Memory of what is mapped once for all workers": [
                {
                    "model": model,
                    "part": part,
                    "MB": round(size, 1),
                    "MB per million": "" if per is None else round(per),
                }
                for model, found in self.memory.items()
                for part, size, per in found.parts
            ],
            "Memory of workers that serve this, MB": [_workers(model, found) for model, found in self.memory.items()],
        }


def throughput(outcome: Outcome) -> float:
    return outcome.throughput


def p50(outcome: Outcome) -> float:
    return outcome.p50


def p99(outcome: Outcome) -> float:
    return outcome.p99


def _aim(aim: str, place: tuple[str, int, int | str], figure: str, bar: str, met: str) -> Row:
    """place: model, cores, candidates."""
    model, cores, candidates = place
    where = {"aim": aim, "model": model, "cores": cores, "candidates": candidates}
    return where | {"figure": figure, "bar": bar, "met": met}


def _met(met: bool) -> str:
    return "met" if met else "missed"


def _throughput_aims(cells: Sequence[Cell]) -> list[Row]:
    rows = []
    for cell in cells:
        if cell.candidates == AIMED_SIZE:
            times = cell.throughput.ratio(_ours(cell.throughput), throughput)
            met = _met(times.median >= LEAST_TIMES)
            aim = "times the plain server's throughput, median (range)"
            rows.append(_aim(aim, (cell.model, cell.cores, cell.candidates), times.text(1), ">= 5", met))
    return rows


def _latency_aims(cells: Sequence[Cell]) -> list[Row]:
    """p99 of all rounds together, at the load where it compares worst."""
    rows = []
    for cell in cells:
        if not cell.loads:
            continue
        worst = max(cell.loads, key=lambda share: _p99_ratio(cell.loads[share]))
        rounds = cell.loads[worst]
        mine, theirs = rounds.pooled(_ours(rounds)), rounds.pooled(rounds.base)
        figure = f"{_p99_ratio(rounds):.2f} ({mine.p99:.1f} over {theirs.p99:.1f} ms, at {worst})"
        failed = sum(each.pooled(_ours(each)).failed for each in cell.loads.values())
        met = _met(_p99_ratio(rounds) < 1 and failed == 0)
        aim = "p99 over the plain server's, the worst load"
        rows.append(_aim(aim, (cell.model, cell.cores, cell.candidates), figure, "< 1", met))
    return rows


def _p99_ratio(rounds: Rounds) -> float:
    return rounds.pooled(_ours(rounds)).p99 / rounds.pooled(rounds.base).p99


def _ours(rounds: Rounds) -> str:
    """The server that is compared, after the base."""
    return list(rounds.outcomes)[1]


def _overhead_aims(found: Sequence[Overhead]) -> list[Row]:
    return [
        _aim(
            f"ms of KServe over in-process scoring at p50, {each.transport}",
            *((each.model, 1, each.candidates), each.over.text(), f"<= {MOST_OVERHEAD_MS:.0f}"),
            _met(each.over.median <= MOST_OVERHEAD_MS),
        )
        for each in found
    ]


def _memory_aims(found: dict[str, Memory]) -> list[Row]:
    return [
        _aim(f"MB per million: {part}", (model, 1, ""), f"{per:.0f}", "reported", "met")
        for model, memory in found.items()
        for part, _, per in memory.parts
        if per is not None
    ]


def _place(cell: Cell, name: str) -> Row:
    return {"model": cell.model, "cores": cell.cores, "candidates": cell.candidates, "server": name}


def _throughput(cells: Sequence[Cell]) -> list[Row]:
    return [
        _place(cell, name)
        | {
            "requests/s": cell.throughput.of(name, throughput).text(0),
            "times the first": "" if name == cell.throughput.base else cell.throughput.ratio(name, throughput).text(),
            "rounds": len(runs),
            "failed": cell.throughput.pooled(name).failed,
            "memory MB (PSS)": round(cell.memory_mb[name]),
        }
        for cell in cells
        for name, runs in cell.throughput.outcomes.items()
    ]


def _latency(cells: Sequence[Cell]) -> list[Row]:
    return [row for cell in cells for share, rounds in cell.loads.items() for row in _load_rows(cell, share, rounds)]


def _load_rows(cell: Cell, share: float, rounds: Rounds) -> Iterator[Row]:
    for name, runs in rounds.outcomes.items():
        pooled, first = rounds.pooled(name), name == rounds.base
        yield _place(cell, name) | {
            "share": share,
            "requests/s": round(pooled.offered),
            "p50": round(pooled.p50, 2),
            "p95": round(pooled.p95, 2),
            "p99": round(pooled.p99, 2),
            "p50 over the first's, by round": "" if first else rounds.ratio(name, p50).text(),
            "p99 over the first's, by round": "" if first else rounds.ratio(name, p99).text(),
            "requests": len(pooled.latency_ms),
            "rounds": len(runs),
            "failed": pooled.failed,
        }


def _overhead(found: Overhead) -> Row:
    return {
        "model": found.model,
        "candidates": found.candidates,
        "transport": found.transport,
        "in process": found.in_process.text(),
        "served": found.served.text(),
        "overhead": found.over.text(),
    }


def _workers(model: str, found: Memory) -> Row:
    return {
        "model": model,
        "one worker, resident": round(found.one_rss),
        "two, resident": round(found.two_rss),
        "two, shared pages once (PSS)": round(found.two_pss),
        "the second adds": round(found.two_pss - found.one_rss),
    }
