"""How often each procedure ever rejects in A/A experiments, and how often an interval ever misses the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.statistics.world import MANY, RAMP, World, simulate
from serving.experiment import fixed_horizon, sequence
from serving.experiment.interval import ratio_interval
from serving.experiment.strata import Strata
from serving.experiment.stratified import Score, stratified_score

ALPHA = 0.05
BURN_IN = 50
CHUNK = 250
Z = 1.959963984540054

WORLDS = (
    World("constant weight"),
    World("constant weight, drift", drift=0.02),
    World("ramp", phases=RAMP),
    World("ramp, drift", phases=RAMP, drift=0.02),
    World("ramp, drift, returning users", phases=RAMP, drift=0.02, returning=True),
    World("twelve phases, drift, returning users", phases=MANY, drift=0.02, returning=True),
    World("ramp, drift, returning users, true lift 5 %", phases=RAMP, drift=0.02, returning=True, lift=0.05),
    World("ramp, drift, returning users, true lift -90 %", phases=RAMP, drift=0.02, returning=True, lift=-0.9),
)
Rule = Callable[[Strata, Score, World], NDArray[np.bool_]]


def always_valid(strata: Strata, score: Score, world: World) -> NDArray[np.bool_]:
    """The product's: whether the interval of the lift misses the true lift."""
    del strata
    covariance = sequence.variance_of(score)
    variance = sequence.difference_variance(covariance)
    multiplier = sequence.multiplier(sequence.clock(score, variance, world.rows, ALPHA), ALPHA)
    lower, upper = ratio_interval(score.level, covariance, multiplier)
    return np.asarray((lower > 1 + world.lift) | (upper < 1 + world.lift))


def without_shared_units(strata: Strata, score: Score, world: World) -> NDArray[np.bool_]:
    """The same as if every row were another user."""
    return always_valid(strata, _unshared(score), world)


def pooled_sequence(strata: Strata, score: Score, world: World) -> NDArray[np.bool_]:
    """The same over all strata as if they were one."""
    del score
    return always_valid(strata, fixed_horizon.pooled_score(strata), world)


def peeking(strata: Strata, score: Score, world: World) -> NDArray[np.bool_]:
    """A z-test at every look, stratified, with the shared units' covariance."""
    del strata
    return _z_misses(score, world)


def peeking_without_shared_units(strata: Strata, score: Score, world: World) -> NDArray[np.bool_]:
    """The same as if every row were another user."""
    del strata
    return _z_misses(_unshared(score), world)


def _z_misses(score: Score, world: World) -> NDArray[np.bool_]:
    covariance = score.own + score.cross
    lower, upper = ratio_interval(score.level, covariance, Z)
    return np.asarray((lower > 1 + world.lift) | (upper < 1 + world.lift))


def pooled_peeking(strata: Strata, score: Score, world: World) -> NDArray[np.bool_]:
    """A z-test at every look on the pooled numbers."""
    del score
    return _z_misses(fixed_horizon.pooled_score(strata), world)


RULES: dict[str, Rule] = {
    "always-valid": always_valid,
    "always-valid, shared units ignored": without_shared_units,
    "always-valid, pooled": pooled_sequence,
    "z": peeking,
    "z, shared units ignored": peeking_without_shared_units,
    "z, pooled": pooled_peeking,
}


def _unshared(score: Score) -> Score:
    return dataclasses.replace(score, cross=np.zeros_like(score.cross))


def ever_and_last(world: World, runs: int, seed: int) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each rule [R]: whether it ever missed, and whether it missed at the last look."""
    found: dict[str, list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]] = {name: [] for name in RULES}
    for number, size in enumerate(chunks(runs)):
        ever = {name: np.zeros(size, dtype=bool) for name in RULES}
        last = dict(ever)
        for strata in simulate(world, size, np.random.default_rng([seed, number])):
            score = stratified_score(strata, strata.counted(BURN_IN))
            begun = score.weight > 0
            for name, rule in RULES.items():
                last[name] = rule(strata, score, world) & begun
                ever[name] = ever[name] | last[name]
        for name in RULES:
            found[name].append((ever[name], last[name]))
    return {
        name: (np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts]))
        for name, parts in found.items()
    }


def chunks(runs: int) -> Iterator[int]:
    """Sizes of parts of the runs that fit into memory."""
    while runs > 0:
        yield min(runs, CHUNK)
        runs -= CHUNK


def percent(misses: NDArray[np.bool_]) -> str:
    """Share of the runs with twice its standard error."""
    share = misses.mean()
    return f"{100 * share:.2f} ± {200 * float(np.sqrt(share * (1 - share) / len(misses))):.2f}"


def error_row(world: World, runs: int, seed: int) -> Row:
    """Percent of the runs that ever miss, and that miss at the last look alone."""
    found = ever_and_last(world, runs, seed)
    return {
        "world": world.name,
        "ever": {name: percent(one) for name, (one, _) in found.items()},
        "last": {name: percent(one) for name, (_, one) in found.items()},
    }
