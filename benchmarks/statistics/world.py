"""Simulated experiments, many at once, looked at after every batch.

Legend: R runs, D days (each a slice), M users, n rows of a batch.

A user i has a rate g_i (exponential, mean 1) that he keeps; his row in a phase is Poisson with mean level(day) g_i,
times 1 + lift if the candidate served him. His place in [0, 1) is kept too: he is with the candidate where it is below
the phase's weight, so a ramp moves him once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.experiment.aggregate import Floats
from serving.experiment.strata import Columns, Shared, Strata
from serving.experiment.stratified import B, C

STEADY = ((0.5, 12),)
RAMP = ((0.05, 3), (0.10, 3), (0.25, 3), (0.50, 3))
MANY = tuple((0.40 + 0.01 * step, 1) for step in range(12))
LEVEL = 2.0
PRESENT = 0.8
"""Share of the users that come back in a phase."""
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """What is simulated."""

    name: str
    phases: tuple[tuple[float, int], ...] = STEADY
    """(candidate's weight, days)."""
    drift: float = 0.0
    """Growth of the level a day."""
    returning: bool = False
    """The same users come in every phase; else every row is a new user."""
    rows_a_day: int = 2_000
    batches_a_day: int = 4
    lift: float = 0.0

    @property
    def days(self) -> int:
        """Of all phases."""
        return sum(days for _, days in self.phases)

    @property
    def rows(self) -> int:
        """Of one run."""
        return self.days * self.rows_a_day


def simulate(world: World, runs: int, rng: np.random.Generator) -> Iterator[Strata]:
    """After each batch the moments of all days so far, [R, D, 2, 1] and [R, D, 2, 1, 1]; days to come have no units."""
    schedule = _schedule(world, rng)
    users = 1 + max(int(batch.max()) for phase in schedule for batch in phase)
    rate, place = rng.standard_exponential((runs, users)), rng.random((runs, users))
    sums = np.zeros((3, runs, world.days, 2))
    shared = _SharedSums(world, schedule, runs) if world.returning else None
    first_day = 0
    for phase, (weight, days) in enumerate(world.phases):
        for number, batch in enumerate(schedule[phase]):
            day = first_day + number // world.batches_a_day
            candidate = (place[:, batch] < weight).astype(np.float64)
            level = LEVEL * (1 + world.drift) ** day
            value = rng.poisson(level * rate[:, batch] * (1 + world.lift * candidate)).astype(np.float64)
            for arm, mask in ((B, 1 - candidate), (C, candidate)):
                sums[0, :, day, arm] += mask.sum(axis=1)
                sums[1, :, day, arm] += np.einsum("rn,rn->r", mask, value)
                sums[2, :, day, arm] += np.einsum("rn,rn,rn->r", mask, value, value)
            if shared is not None:
                shared.add(phase, number, day, candidate, value)
            yield _strata(sums, None if shared is None else shared.moments())
        first_day += days


def _schedule(world: World, rng: np.random.Generator) -> list[list[Integers]]:
    """Users of each batch of each phase. It is drawn once and is the same in all runs."""
    schedule: list[list[Integers]] = []
    used = 0
    for _, days in world.phases:
        rows = days * world.rows_a_day
        if world.returning:
            users = rng.permutation(round(rows / PRESENT))[:rows]
        else:
            users = np.arange(used, used + rows)
            used += rows
        schedule.append(np.array_split(users, days * world.batches_a_day))
    return schedule


def _strata(sums: Floats, shared: Shared | None) -> Strata:
    count, total, squares = sums.copy()
    mean = total / np.maximum(count, 1)
    m2 = squares - count * mean**2
    return Strata(Columns(1), count, mean[..., None], m2[..., None, None], shared)


class _SharedSums:
    """Running sums over the users that two days of different phases share, by their arms: both baseline, moved, both
    candidate (weights only rise)."""

    ARMS = ((B, B), (B, C), (C, C))

    def __init__(self, world: World, schedule: list[list[Integers]], runs: int) -> None:
        day_of = np.repeat(np.arange(world.days), world.batches_a_day)
        starts = np.cumsum([0, *(len(phase) for phase in schedule)])
        users = round(world.phases[0][1] * world.rows_a_day / PRESENT)
        self.batches = schedule
        self.days = [day_of[start : start + len(phase)] for start, phase in zip(starts, schedule, strict=False)]
        self.column = np.full((len(schedule), users), -1)
        self.values: list[list[Floats]] = [[] for _ in schedule]
        self.candidates: list[list[Floats]] = [[] for _ in schedule]
        phase_of = np.repeat(np.arange(len(schedule)), [days for _, days in world.phases])
        self.pairs = {
            pair: at
            for at, pair in enumerate(
                (early, late)
                for late in range(world.days)
                for early in range(late)
                if phase_of[early] != phase_of[late]
            )
        }
        self.sums = np.zeros((4, runs, len(self.pairs), len(self.ARMS)))

    def add(self, phase: int, number: int, day: int, candidate: Floats, value: Floats) -> None:
        batch = self.batches[phase][number]
        done = sum(one.shape[1] for one in self.values[phase])
        self.column[phase, batch] = np.arange(done, done + len(batch))
        self.values[phase].append(value)
        self.candidates[phase].append(candidate)
        for earlier in range(phase):
            self._add_with(earlier, batch, day, candidate, value)

    def _add_with(self, earlier: int, batch: Integers, day: int, candidate: Floats, value: Floats) -> None:
        if len(self.values[earlier]) > 1:  # once a phase is over its batches become one array
            self.values[earlier] = [np.concatenate(self.values[earlier], axis=1)]
            self.candidates[earlier] = [np.concatenate(self.candidates[earlier], axis=1)]
        columns = self.column[earlier, batch]
        sizes = [len(one) for one in self.batches[earlier]]
        day_of = np.repeat(self.days[earlier], sizes)
        order = np.argsort(columns, kind="stable")
        order = order[columns[order] >= 0]
        columns = columns[order]
        before, moved_before = self.values[earlier][0][:, columns], self.candidates[earlier][0][:, columns]
        now, moved_now = value[:, order], candidate[:, order]
        days, starts = np.unique(day_of[columns], return_index=True)
        places = [self.pairs[int(one), day] for one in days]
        masks = (1 - moved_now, moved_now - moved_before, moved_before)
        for arm, mask in enumerate(masks):
            for number, term in enumerate((mask, mask * before, mask * now, mask * before * now)):
                self.sums[number, :, places, arm] += np.add.reduceat(term, starts, axis=1).T

    def moments(self) -> Shared:
        keys = np.array(list(self.pairs))
        arms = np.array(self.ARMS)
        count, sums_a, sums_b, products = self.sums.copy().reshape(4, self.sums.shape[1], -1)
        return Shared(
            stratum_a=np.repeat(keys[:, 0], len(arms)),
            arm_a=np.tile(arms[:, 0], len(keys)),
            stratum_b=np.repeat(keys[:, 1], len(arms)),
            arm_b=np.tile(arms[:, 1], len(keys)),
            count=count,
            sums_a=sums_a[..., None],
            sums_b=sums_b[..., None],
            products=products[..., None, None],
        )
