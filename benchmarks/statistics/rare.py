"""A/A experiments with rare or skewed outcomes under a ramp: when is there enough to judge?

Each day brings new units; a share of them buys; what a buyer spends is 1, or log-normal and capped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.statistics.errors import ALPHA, chunks, percent
from serving.experiment import sequence
from serving.experiment.aggregate import Floats
from serving.experiment.analysis import expected_events
from serving.experiment.design import Metric
from serving.experiment.strata import Columns, Strata
from serving.experiment.stratified import Score, stratified_score

WEIGHTS = np.repeat([0.01, 0.05, 0.20, 0.50], 3)
UNITS_A_DAY = 20_000
BURN_IN, MIN_EVENTS = 100, 10
CAP = 50.0
CASES = ((0.0005, None), (0.002, None), (0.01, None), (0.01, 1.0), (0.01, 1.5))
"""(share of buyers, log-normal sigma of what they spend)."""
METRIC = Metric("spent", "mean", "spent", cap=CAP)


def _spent(units: NDArray[np.int64], share: float, sigma: float | None, rng: np.random.Generator) -> list[Floats]:
    """Sum and sum of squares of what the units of each cell spend."""
    buyers = rng.binomial(units, share)
    if sigma is None:
        return [buyers.astype(np.float64)] * 2
    amounts = np.minimum(rng.lognormal(0.0, sigma, buyers.sum()), CAP)
    cell = np.repeat(np.arange(buyers.size), buyers.ravel())
    sums = (np.bincount(cell, amounts**power, buyers.size) for power in (1, 2))
    return [np.asarray(one, dtype=np.float64).reshape(buyers.shape) for one in sums]


def _strata(share: float, sigma: float | None, runs: int, rng: np.random.Generator) -> Strata:
    candidate = rng.binomial(UNITS_A_DAY, WEIGHTS, (runs, len(WEIGHTS)))
    units = np.stack([UNITS_A_DAY - candidate, candidate], axis=-1)
    total, squares = _spent(units, share, sigma, rng)
    mean = total / units
    m2 = squares - units * mean**2
    return Strata(Columns(1), units.astype(np.float64), mean[..., None], m2[..., None, None])


def _until(strata: Strata, day: int) -> Strata:
    return Strata(strata.columns, strata.count[:, :day], strata.mean[:, :day], strata.m2[:, :day])


def rare_row(share: float, sigma: float | None, runs: int, seed: int) -> Row:
    """Percent of the runs that ever reject, looked at daily: as the product does, and without its precautions."""
    careful: list[NDArray[np.bool_]] = []
    careless: list[NDArray[np.bool_]] = []
    for number, size in enumerate(chunks(runs)):
        whole = _strata(share, sigma, size, np.random.default_rng([seed, number]))
        ever, ever_careless = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        for day in range(1, len(WEIGHTS) + 1):
            strata = _until(whole, day)
            counted = strata.counted(BURN_IN)
            score = stratified_score(strata, counted)
            ready = expected_events(METRIC, strata, counted) >= MIN_EVENTS
            ever |= ready & _beyond(score, sequence.variance_of(score))
            ever_careless |= _beyond(score, score.own)
        careful.append(ever)
        careless.append(ever_careless)
    return {
        "buyers": f"{share:.2%}",
        "what they spend": "1" if sigma is None else f"log-normal, sigma {sigma:g}, capped at {CAP:g}",
        "always-valid": percent(np.concatenate(careful)),
        "own variances, no least number of events": percent(np.concatenate(careless)),
    }


def _beyond(score: Score, covariance: Floats) -> NDArray[np.bool_]:
    variance = sequence.difference_variance(covariance)
    with np.errstate(invalid="ignore"):
        bound = sequence.multiplier(sequence.clock(score, variance, UNITS_A_DAY * len(WEIGHTS), ALPHA), ALPHA)
        return np.asarray(np.abs(score.contrast()) > bound * np.sqrt(variance))
