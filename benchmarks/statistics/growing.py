"""A/A experiments in which a unit's value grows as long as the experiment lasts: no maturity window.

Units enter evenly over the days; each adds, every day from its entry on, a Poisson number with his own rate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.results import Row
from benchmarks.statistics.errors import ALPHA, BURN_IN, chunks, percent
from serving.experiment import sequence
from serving.experiment.strata import Columns, Strata
from serving.experiment.stratified import stratified_score

DAYS = 28
UNITS = 2_800
ENTRY_DAYS = (1, 7, 14)
DAILY = 0.5


def _days(runs: int, entry_days: int, persistent: bool, rng: np.random.Generator) -> Iterator[Strata]:
    """After each day: every unit is in the stratum of its entry day."""
    entry = np.arange(UNITS) * entry_days // UNITS
    rate = rng.standard_exponential((runs, UNITS)) if persistent else np.ones((runs, UNITS))
    candidate = rng.random((runs, UNITS)) < 0.5
    value = np.zeros((runs, UNITS))
    starts = np.searchsorted(entry, np.arange(entry_days))
    for day in range(DAYS):
        here = entry <= day
        value[:, here] += rng.poisson(DAILY * rate[:, here])
        cells = []
        for mask in (~candidate, candidate):
            inside = (mask & here).astype(np.float64)
            terms = (inside, inside * value, inside * value**2)
            cells.append(np.stack([np.add.reduceat(term, starts, axis=1) for term in terms]))
        count, total, squares = np.stack(cells, axis=-1)
        mean = total / np.maximum(count, 1)
        m2 = squares - count * mean**2
        yield Strata(Columns(1), count, mean[..., None], m2[..., None, None])


def growing_row(entry_days: int, persistent: bool, runs: int, seed: int) -> Row:
    """Percent of the runs that ever reject. entry_days: in which all units enter. persistent: users keep a rate."""
    final_sd = float(np.sqrt(DAYS * DAILY + (DAYS * DAILY) ** 2 * persistent))
    ever: dict[str, list[np.ndarray]] = {"estimated": [], "planned": []}
    for number, size in enumerate(chunks(runs)):
        found = {name: np.zeros(size, dtype=bool) for name in ever}
        for strata in _days(size, entry_days, persistent, np.random.default_rng([seed, number])):
            score = stratified_score(strata, strata.counted(BURN_IN))
            variance = sequence.difference_variance(sequence.variance_of(score))
            for name, sd in (("estimated", None), ("planned", final_sd)):
                bound = sequence.multiplier(sequence.clock(score, variance, UNITS, ALPHA, sd), ALPHA)
                found[name] |= np.abs(score.contrast()) > bound * np.sqrt(variance)
        for name, one in found.items():
            ever[name].append(one)
    return {
        "units enter in": f"{entry_days} of {DAYS} days",
        "users' rates": "persistent" if persistent else "equal",
        "scale estimated": percent(np.concatenate(ever["estimated"])),
        "scale planned (`sd`)": percent(np.concatenate(ever["planned"])),
    }
