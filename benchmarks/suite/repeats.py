"""Repeated runs of a benchmark, kept beside its results: where the noise bands come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Facts, Row, write_results
from benchmarks.suite.benchmark import Benchmark, Ratio, Scale
from benchmarks.suite.figures import Figure, figures_of
from benchmarks.suite.noise import LEVEL, bands
from benchmarks.suite.stored import Results, Source
from model.errors import UserError

ENDING = ".repeats"
"""Behind the benchmark's name."""
TITLE = f"Figures of repeated runs, and the band that a new one leaves by chance in {2 * LEVEL:.1%} of the cases"


def write_repeats(benchmark: Benchmark, command: str, facts: Facts, runs: Sequence[Results], folder: Path) -> Path:
    """Writes `<name>.repeats.{json,md}`. runs: of the same command."""
    found = [figures_of(benchmark, run.tables) for run in runs]
    names = dict.fromkeys(name for figures in found for name in figures)
    each = {name: [figures[name] for figures in found if name in figures] for name in names}
    width = bands({name: (figures[0].ratio, [one.value for one in figures]) for name, figures in each.items()})
    rows = [_row(name, figures, width[name]) for name, figures in each.items()]
    return write_results(benchmark.name + ENDING, command, facts, {TITLE: rows}, folder)


def read_bands(benchmark: Benchmark, source: Source) -> dict[str, float]:
    """Half width by figure, from the repeated runs that are stored; empty where there are none.

    Raises UserError.
    """
    results = source(benchmark.name + ENDING)
    if results is None:
        return {}
    ratios = {ratio.kind: ratio for ratio in benchmark.ratios}
    runs: dict[str, tuple[Ratio, list[float]]] = {}
    for row in (row for rows in results.tables.values() for row in rows):
        try:
            kind, name, values = row["kind"], row["figure"], [float(value) for value in row["runs"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{benchmark.name}{ENDING}.json: not repeated runs: {error!r}; make them again") from error
        if kind in ratios:
            runs[name] = ratios[kind], values
    return bands(runs)


def band_text(width: float | None, scale: Scale) -> str:
    """A band as people read it: in percent of a ratio, both ways; or as what is added."""
    if width is None or math.isinf(width):
        return "none"
    if scale == "difference":
        return f"± {width:.2g}"
    return f"-{1 - math.exp(-width):.0%} to +{math.expm1(width):.0%}"


def _row(name: str, figures: Sequence[Figure], width: float) -> Row:
    values = [round(one.value, 6) for one in figures]
    return {
        "figure": name,
        "kind": figures[0].ratio.kind,
        "runs": values,
        "band": band_text(width, figures[0].ratio.scale),
    }
