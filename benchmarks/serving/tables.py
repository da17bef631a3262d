"""From what was measured to the tables of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.results import Row
from benchmarks.serving.contenders import PLAIN
from benchmarks.serving.measure import FRACTIONS, Cell
from benchmarks.serving.memory import Memory
from benchmarks.serving.paired import Batching, Overhead

MOST_OVERHEAD_MS = 2.0
LEAST_TIMES = 5.0


def tables_of(
    cells: Sequence[Cell], batched: Mapping[str, Batching], memory: Mapping[str, Memory]
) -> dict[str, list[Row]]:
    """Title to rows, the aims first."""
    loaded = [cell for cell in cells if cell.loads]
    return {
        "Aims": _aims(cells),
        "Throughput, requests a second (16 clients, closed loop), and how many times the plain server's": [
            _throughput(cell, _plain(cell, cells)) for cell in cells
        ],
        "Latency in ms from the scheduled moment (open loop, Poisson), at shares of the plain server's throughput": [
            _latency(cell, place) for cell in loaded for place in range(len(FRACTIONS))
        ],
        "p99 over the plain server's, at the same loads": [
            _below(cell, plain) for cell in loaded if (plain := _plain(cell, cells)) is not cell
        ],
        "One call at a time over scoring in process, p50 in ms, in turns on one core": [
            _overhead(cell, cell.overhead) for cell in cells if cell.overhead is not None
        ],
        "Batching over none at a low load, ratios of p50 and p99 round by round (50 candidates, one core, in turns)": [
            _batched(model, found) for model, found in batched.items()
        ],
        "Memory of what is mapped once for all workers": [
            {"model": model, "part": part, "MB": round(size, 1), "MB per million": "" if per is None else round(per)}
            for model, found in memory.items()
            for part, size, per in found.parts
        ],
        "Memory of workers that serve this, MB": [
            {
                "model": model,
                "one worker, resident": round(found.one_rss),
                "two, resident": round(found.two_rss),
                "two, shared pages once (PSS)": round(found.two_pss),
                "the second adds": round(found.two_pss - found.one_rss),
            }
            for model, found in memory.items()
        ],
    }


def _aims(cells: Sequence[Cell]) -> list[Row]:
    """What the project promises, by the default server: KServe with the chosen scorers over HTTP."""
    rows: list[Row] = []
    for cell in cells:
        if cell.contender != "mgoe on KServe":
            continue
        plain = _plain(cell, cells)
        worst = max(mine.p99 / theirs.p99 for mine, theirs in zip(cell.loads, plain.loads, strict=True))
        times = cell.capacity.throughput / plain.capacity.throughput
        over = cell.overhead.served - cell.overhead.rank if cell.overhead else None
        rows.append(
            {"model": cell.model, "cores": cell.cores, "candidates": cell.candidates}
            | {"times plain's throughput": round(times, 1), "aim >= 5": _met(times >= LEAST_TIMES)}
            | {"worst p99 over plain's": round(worst, 2), "aim < 1": _met(worst < 1)}
            | {"ms over in-process p50": "" if over is None else round(over, 2)}
            | {"aim <= 2": "" if over is None else _met(over <= MOST_OVERHEAD_MS)}
        )
    return rows


def _met(aim: bool) -> str:
    return "yes" if aim else "no"


def _plain(cell: Cell, cells: Sequence[Cell]) -> Cell:
    same = (cell.model, cell.cores, cell.candidates, PLAIN)
    return next(each for each in cells if (each.model, each.cores, each.candidates, each.contender) == same)


def _place(cell: Cell) -> Row:
    return {"model": cell.model, "cores": cell.cores, "candidates": cell.candidates, "server": cell.contender}


def _throughput(cell: Cell, plain: Cell) -> Row:
    return _place(cell) | {
        "requests/s": round(cell.capacity.throughput),
        "times plain": round(cell.capacity.throughput / plain.capacity.throughput, 1),
        "failed": cell.capacity.failed,
        "memory MB (PSS)": round(cell.memory_mb),
    }


def _latency(cell: Cell, place: int) -> Row:
    load = cell.loads[place]
    quantiles = {"p50": load.p50, "p95": load.p95, "p99": load.p99}
    return _place(cell) | {
        "share": FRACTIONS[place],
        "requests/s": round(load.offered),
        **{name: round(value, 2) for name, value in quantiles.items()},
        "failed": load.failed,
    }


def _below(cell: Cell, plain: Cell) -> Row:
    ratios = [mine.p99 / theirs.p99 for mine, theirs in zip(cell.loads, plain.loads, strict=True)]
    return _place(cell) | {
        **{f"at {share}": round(ratio, 2) for share, ratio in zip(FRACTIONS, ratios, strict=True)},
        "below": _met(max(ratios) < 1),
    }


def _overhead(cell: Cell, found: Overhead) -> Row:
    return {"model": cell.model, "candidates": cell.candidates, "server": cell.contender} | {
        "in process": round(found.rank, 2),
        "with parsing and writing": round(found.whole, 2),
        "served": round(found.served, 2),
        "overhead": round(found.served - found.rank, 2),
    }


def _batched(model: str, found: Batching) -> Row:
    row: Row = {"model": model, "requests/s": round(found.offered)}
    for name, ratios in (("p50", found.p50), ("p99", found.p99)):
        row[f"{name}, median"] = round(float(np.median(ratios)), 2)
        row[f"{name}, all rounds"] = " ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    return row
