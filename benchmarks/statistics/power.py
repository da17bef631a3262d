"""Power and width: the product's sequence against the same sequence written literally, and a t-test at the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.statistics import literal
from benchmarks.statistics.errors import ALPHA, BURN_IN, chunks
from benchmarks.statistics.world import World, simulate
from serving.experiment import fixed_horizon, sequence
from serving.experiment.aggregate import Floats
from serving.experiment.planning import power_fixed, power_sequence
from serving.experiment.stratified import stratified_score

LIFTS = (0.02, 0.04, 0.06, 0.08)
SD = float(np.sqrt(2.0 + 2.0**2))
"""Of a row of world.py: Poisson with mean 2 g, g exponential."""


def power_row(lift: float, runs: int, seed: int) -> Row:
    """At constant weights without drift: 24,000 units, 48 looks."""
    world = World("power", lift=lift)
    ours: list[NDArray[np.bool_]] = []
    peer: list[NDArray[np.bool_]] = []
    once: list[NDArray[np.bool_]] = []
    widths: list[Floats] = []
    units: list[Floats] = []
    for number, size in enumerate(chunks(runs)):
        rejected, rejected_peer = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        stopped = np.full(size, np.nan)
        for strata in simulate(world, size, np.random.default_rng([seed, number])):
            score = stratified_score(strata, strata.counted(BURN_IN))
            variance = sequence.difference_variance(sequence.variance_of(score))
            bound = sequence.multiplier(sequence.clock(score, variance, world.rows, ALPHA), ALPHA)
            half = bound * np.sqrt(variance) / score.weight
            pooled = fixed_horizon.pooled_score(strata)
            count, m2, mean = _merged(strata.count, strata.m2[..., 0, 0], strata.mean[..., 0])
            radius = literal.radius_of_moments(count, m2, 0.5, world.rows, ALPHA)
            hit = np.abs(fixed_horizon.effect(score)) > half
            stopped = np.where(hit & ~rejected, count.sum(axis=-1), stopped)
            rejected |= hit
            rejected_peer |= np.abs(mean[:, 1] - mean[:, 0]) > radius
        widths.append(half / radius)
        once.append(np.abs(fixed_horizon.effect(pooled)) > fixed_horizon.half_width(pooled, ALPHA))
        ours.append(rejected)
        peer.append(rejected_peer)
        units.append(stopped)
    stop = np.concatenate(units)
    effect = 2.0 * world.lift
    return {
        "lift": f"{world.lift:.0%}",
        "power": _share(ours),
        "power, literal": _share(peer),
        "power, planned": round(power_sequence(effect, SD, world.rows / 4, world.rows, ALPHA), 3),
        "width over literal, last look": round(float(np.concatenate(widths).mean()), 3),
        "power, t-test once": _share(once),
        "t-test, planned": round(power_fixed(effect, SD, world.rows, 0.5, ALPHA), 3),
        "units when found, median": int(np.nanmedian(stop)) if np.isfinite(stop).any() else "-",
    }


def _merged(count: Floats, m2: Floats, mean: Floats) -> tuple[Floats, Floats, Floats]:
    """Days together: [R, D, 2] to [R, 2]."""
    total = count.sum(axis=1)
    middle = (count * mean).sum(axis=1) / np.maximum(total, 1)
    return total, (m2 + count * (mean - middle[:, None]) ** 2).sum(axis=1), middle


def _share(parts: list[NDArray[np.bool_]]) -> float:
    return round(float(np.concatenate(parts).mean()), 3)
