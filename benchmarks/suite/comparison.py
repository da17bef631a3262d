"""New figures against the stored ones: what is worse by more than noise, better, as before, missing or new."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.suite.benchmark import Scale
from benchmarks.suite.figures import Figure
from benchmarks.suite.noise import place

Finding = Literal["worse", "better", "as before", "not judged", "missing", "new"]


@dataclass(frozen=True)
class Compared:
    """One figure. stored or measured is None where the figure is new or missing."""

    name: str
    finding: Finding
    scale: Scale
    stored: float | None
    measured: float | None
    band: float | None
    """Half width on the scale of `place`; None: the figure has no repeated runs."""


def compare(
    stored: Mapping[str, Figure], measured: Mapping[str, Figure], bands: Mapping[str, float]
) -> tuple[Compared, ...]:
    """Each figure that is stored, measured or both, once, in the order of the stored ones and then of the new."""
    names = dict.fromkeys([*stored, *measured])
    return tuple(_compared(name, stored.get(name), measured.get(name), bands.get(name)) for name in names)


def _compared(name: str, stored: Figure | None, measured: Figure | None, band: float | None) -> Compared:
    if stored is None or measured is None:
        finding: Finding = "new" if stored is None else "missing"
        values = [None if one is None else one.value for one in (stored, measured)]
        scale = next(one.ratio.scale for one in (stored, measured) if one is not None)
        return Compared(name, finding, scale, values[0], values[1], band)
    finding = _finding(stored, measured, band)
    return Compared(name, finding, stored.ratio.scale, stored.value, measured.value, band)


def _finding(stored: Figure, measured: Figure, band: float | None) -> Finding:
    if abs(measured.value - stored.value) <= max(stored.step, measured.step) * (1 + 1e-9):
        return "as before"
    if band is None or math.isinf(band):
        return "not judged"
    change = place(measured.value, measured.ratio.scale) - place(stored.value, stored.ratio.scale)
    if abs(change) <= band:
        return "as before"
    return "better" if (change > 0) == (stored.ratio.better == "higher") else "worse"
