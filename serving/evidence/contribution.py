"""What one unit adds to the aggregates, in whole numbers: the difference of two states is what a batch writes.

Pure. An aggregate is the sum of its units' contributions and nothing else, so deleting a unit is adding the negative
of what it contributes, and no order of events leaves a trace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from serving.evidence.event import MICRO
from serving.evidence.run import Catalogue, Run
from serving.evidence.unit import PhaseRow, UnitState

COLUMNS = ("value", "denominator", "covariate")
"""A metric's columns; those that it lacks are 0 throughout."""
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Products that an aggregate keeps, of columns."""
CROSS_PAIRS = tuple((a, b) for a in range(3) for b in range(3))
"""Products that a cross aggregate keeps: column in the earlier stratum, column in the later."""


class AggregateKey(NamedTuple):
    """Row of `aggregates`. Sums: [units, late, sums (3), products (6)]."""

    run: int
    metric: int
    phase: int
    slice: int
    arm: str


class CrossKey(NamedTuple):
    """Row of `cross_aggregates`, the earlier phase first. Sums: [units, sums_a (3), sums_b (3), products (9)]."""

    run: int
    metric: int
    phase_a: int
    slice_a: int
    arm_a: str
    phase_b: int
    slice_b: int
    arm_b: str


class ExposedKey(NamedTuple):
    """Row of `exposed`. Sums: [units, units that had no row in the experiment before]."""

    run: int
    phase: int
    slice: int
    arm: str


class TallyKey(NamedTuple):
    """Row of `tallies`, of one experiment. Sums: [count]. phase is -1 where the kind has none."""

    kind: str
    phase: int


Key = AggregateKey | CrossKey | ExposedKey | TallyKey
Sums = dict[Key, list[int]]


class Change(NamedTuple):
    """A unit before and after; None: it was not, or is no more, known."""

    before: UnitState | None
    after: UnitState | None


def deltas(changes: Iterable[Change], catalogue: Catalogue, settled_us: int, later_us: int | None = None) -> Sums:
    """What changes of units do to the aggregates; what stays 0 is left out.

    settled_us: units whose window closed by then are in. later_us: the same for `after`, where time moves on.
    """
    sums: Sums = defaultdict(list)
    for before, after in changes:
        touched = _touched(before, after) if later_us is None else None
        for state, sign, moment in ((before, -1, settled_us), (after, 1, settled_us if later_us is None else later_us)):
            if state is not None:
                _Contribution(sums, sign, catalogue, moment).add(state, touched)
    return {key: values for key, values in sums.items() if any(values)}


def due_us(row: PhaseRow, run: Run, settled_us: int) -> int | None:
    """When the next metric of a row matures; None: all have."""
    times = [
        row.entry_us + run.windows_us[place] for place, metric in enumerate(run.design.metrics) if metric.maturity_s
    ]
    return min((time for time in times if time > settled_us), default=None)


def columns(row: PhaseRow, run: Run, metric: int, covariates: Mapping[str, int]) -> tuple[int, int, int]:
    """A unit's value, denominator and covariate in MICRO units; a unit without the covariate has none of it: 0."""
    value, hits, denominator, _ = row.totals[metric]
    spec, cap = run.design.metrics[metric], run.caps[metric]
    if spec.kind == "proportion":
        value = MICRO if hits else 0
    elif cap is not None:
        value = min(value, cap)
    covariate = 0 if spec.covariate is None else covariates.get(spec.covariate, 0)
    return value, denominator if spec.denominator is not None else 0, covariate


def _touched(before: UnitState | None, after: UnitState | None) -> set[int] | None:
    """Phases whose rows differ; None: all do, since a covariate does or the unit came or went."""
    if before is None or after is None or before.covariates != after.covariates:
        return None
    phases = before.rows.keys() | after.rows.keys()
    return {phase for phase in phases if before.rows.get(phase) != after.rows.get(phase)}


class _Contribution:
    """Adds one state to sums, with a sign."""

    def __init__(self, sums: Sums, sign: int, catalogue: Catalogue, settled_us: int) -> None:
        self._sums, self._sign, self._catalogue, self._settled_us = sums, sign, catalogue, settled_us

    def add(self, state: UnitState, touched: set[int] | None) -> None:
        self._tally(state)
        if touched is not None and not touched:
            return
        rows = sorted((phase, row) for phase, row in state.rows.items())
        for phase, row in rows:
            if touched is None or phase in touched:
                self._row(phase, row, state.covariates)
        if len(rows) > 1:
            self._pairs(rows, state.covariates, touched)
        self._new(state)

    def _put(self, key: Key, values: Iterable[int]) -> None:
        mine = self._sums[key]
        if not mine:
            mine.extend(self._sign * value for value in values)
            return
        for place, value in enumerate(values):
            mine[place] += self._sign * value

    def _tally(self, state: UnitState) -> None:
        if state.waiting:
            self._put(TallyKey("waiting", -1), (state.waiting,))
        if state.capped:
            self._put(TallyKey("capped", -1), (1,))
        for name, count in state.excluded.items():
            phase, _, kind = name.partition(":")
            self._put(TallyKey(kind, int(phase)), (count,))

    def _row(self, phase: int, row: PhaseRow, covariates: Mapping[str, int]) -> None:
        run = self._catalogue.runs[row.run]
        if row.crossed:
            self._put(TallyKey("crossover", phase), (1,))
            return
        self._put(ExposedKey(run.id, phase, row.slice, row.arm), (1, 0))
        for metric in range(len(run.design.metrics)):
            values: tuple[int, ...] = (0,) * 10
            late = row.totals[metric][3]
            if self._mature(row, run, metric):
                unit = columns(row, run, metric, covariates)
                values = (1, *unit, *(unit[a] * unit[b] for a, b in PAIRS))
            self._put(AggregateKey(run.id, metric, phase, row.slice, row.arm), (values[0], late, *values[1:]))

    def _mature(self, row: PhaseRow, run: Run, metric: int) -> bool:
        return not run.design.metrics[metric].maturity_s or row.entry_us + run.windows_us[metric] <= self._settled_us

    def _pairs(self, rows: list[tuple[int, PhaseRow]], covariates: Mapping[str, int], touched: set[int] | None) -> None:
        for place, (phase_a, a) in enumerate(rows):
            for phase_b, b in rows[place + 1 :]:
                together = a.run == b.run and not a.crossed and not b.crossed
                if together and (touched is None or phase_a in touched or phase_b in touched):
                    self._pair(phase_a, a, phase_b, b, covariates)

    def _pair(self, phase_a: int, a: PhaseRow, phase_b: int, b: PhaseRow, covariates: Mapping[str, int]) -> None:
        run = self._catalogue.runs[a.run]
        for metric in range(len(run.design.metrics)):
            if self._mature(a, run, metric) and self._mature(b, run, metric):
                x, y = columns(a, run, metric, covariates), columns(b, run, metric, covariates)
                key = CrossKey(run.id, metric, phase_a, a.slice, a.arm, phase_b, b.slice, b.arm)
                self._put(key, (1, *x, *y, *(x[i] * y[j] for i, j in CROSS_PAIRS)))

    def _new(self, state: UnitState) -> None:
        """The first row of a unit in the experiment, the one with which the split alone decided its arm: one that was
        there in an earlier run may come again because of what that run's model did."""
        _, phase = min(((row.entry_us, phase) for phase, row in state.rows.items()), default=(0, None))
        if phase is not None and not state.rows[phase].crossed:
            row = state.rows[phase]
            self._put(ExposedKey(row.run, phase, row.slice, row.arm), (0, 1))
