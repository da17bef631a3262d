"""What a benchmark is to the suite: how it is run, and which of its figures are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]
Scale = Literal["ratio", "difference"]


@dataclass(frozen=True)
class Ratio:
    """A column whose figures do not depend on how fast the machine is: ratios, shares, differences of a metric."""

    kind: str
    """A name, unique within a benchmark. Figures of a kind are taken to be about as noisy as each other."""
    table: str
    """Part of the table's title, without what depends on sizes."""
    key: tuple[str, ...]
    """Columns that name a row."""
    column: str
    """A number, or text that begins with one: "3.93 (3.38 to 4.13)". Rows without one are left out."""
    better: Better
    scale: Scale = "ratio"
    """ratio: changes are multiplied, and noise with them. difference: both are added."""
    over: str = ""
    """Column that the figure is divided by, where the table has counts."""
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Only rows in which each of these columns has one of these values."""


@dataclass(frozen=True)
class Benchmark:
    """One folder of benchmarks/. Arguments may hold {data}, the folder of real logs, {work}, a working folder,
    {results}, {seed}, the number of a repeated run from 0, and {commit}."""

    name: str
    """Of the module and of its results."""
    ratios: tuple[Ratio, ...]
    full: tuple[str, ...]
    quick: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Folders below {data}."""
    programs: tuple[str, ...] = ()
    """Globs of files that must be there, any one of each."""
