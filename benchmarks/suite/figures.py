"""From the tables of a benchmark's results to the figures that are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results import Row
from benchmarks.suite.benchmark import Benchmark, Ratio
from model.errors import UserError

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")

Tables = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Figure:
    """One number of a table."""

    name: str
    """The benchmark, the kind, and the row."""
    ratio: Ratio
    value: float
    step: float = 0.0
    """One of the last digit that is printed; differences up to it may be rounding."""


def figures_of(benchmark: Benchmark, tables: Tables) -> dict[str, Figure]:
    """By name. Raises UserError where two rows have one name, or a ratio is below 0."""
    found: dict[str, Figure] = {}
    for ratio in benchmark.ratios:
        for row in _rows(ratio, tables):
            figure = _figure(benchmark.name, ratio, row)
            if figure is None:
                continue
            if figure.name in found:
                raise UserError(f"{figure.name}: two rows of the results are named so; add a column to the key")
            if ratio.scale == "ratio" and figure.value < 0:
                raise UserError(f"{figure.name}: {figure.value:g} is no ratio; those are 0 or more")
            found[figure.name] = figure
    return found


def _rows(ratio: Ratio, tables: Tables) -> list[Row]:
    rows = [row for title, rows in tables.items() if ratio.table in title for row in rows]
    return [row for row in rows if all(str(row.get(name)) in values for name, values in ratio.rows)]


def _figure(benchmark: str, ratio: Ratio, row: Row) -> Figure | None:
    value, step = number_of(row.get(ratio.column))
    if value is None:
        return None
    if ratio.over:
        whole, _ = number_of(row.get(ratio.over))
        if not whole:
            return None
        value, step = value / whole, 0.0
    named = ", ".join(str(row.get(name)) for name in ratio.key)
    return Figure(f"{benchmark}, {ratio.kind}: {named}", ratio, value, step)


def number_of(cell: Any) -> tuple[float | None, float]:
    """The number that a cell is or begins with, and one of its last printed digit; None: it has none."""
    read = None if isinstance(cell, bool) else _NUMBER.match(str(cell))
    if read is None:
        return None, 0.0
    decimals, exponent = len(read[1] or ".") - 1, int((read[2] or "e0")[1:])
    return float(read[0]), 10.0 ** (exponent - decimals)
