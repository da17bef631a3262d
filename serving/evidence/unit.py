"""What the store knows of one unit in one experiment: its timeline of phases, and its running sums per phase.

Pure. The state is a function of the set of the unit's events, whatever their order (`replay`). Most events can be
added to a state in constant time (`add_exposure`, `add_outcome`); the rest ask for a replay of the unit's own events.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from serving.evidence.event import MICRO, Exposure, Outcome
from serving.evidence.reference import NOWHERE, References, estranged, label_of
from serving.evidence.run import Catalogue, Run
from serving.experiment.design import EXPOSURES
from serving.gateway.assignment import Arm

TIMELINE = 32
"""Changes of phase that a unit's state keeps; an outcome from before them asks for a replay."""

_CUT = -2
"""Label of the time before the timeline that is kept."""

_AFTER = 2**31
"""Greater than any label."""

Point = tuple[int, str, int]
"""(time in microseconds, exposure id, label): from here on the unit's last exposure was of this phase."""


@dataclass(slots=True)
class PhaseRow:
    """One unit in one phase: its arm, when it entered, and its sums."""

    run: int
    arm: Arm
    entry_us: int
    slice: int
    totals: list[list[int]]
    """Per metric of the run: [value, hits, denominator, late]; value and denominator in MICRO units."""
    crossed: bool = False
    """The unit was shown both arms in this phase: it is counted as a crossover and as nothing else."""
    taken: dict[str, int] = field(default_factory=dict)
    """Events in this phase by outcome name, and under EXPOSURES: what the cap of events a unit counts."""
    last_us: int = 0
    """The latest outcome that the timeline put here."""

    def copy(self) -> PhaseRow:
        """A row that can be changed without changing this one."""
        totals = [list(t) for t in self.totals]
        return PhaseRow(
            self.run, self.arm, self.entry_us, self.slice, totals, self.crossed, dict(self.taken), self.last_us
        )


@dataclass(slots=True)
class UnitState:
    """One unit in one experiment."""

    timeline: list[Point] = field(default_factory=list)
    """Where the phase of the unit's last exposure changes, in order of time."""
    rows: dict[int, PhaseRow] = field(default_factory=dict)
    """By phase; only phases that are registered."""
    covariates: dict[str, int] = field(default_factory=dict)
    """In MICRO units."""
    excluded: dict[str, int] = field(default_factory=dict)
    """Exposures that are no evidence, by "phase:forced" and "phase:foreign"."""
    waiting: int = 0
    """Outcomes that no exposure has explained yet."""
    capped: bool = False
    """Events beyond the cap of events a unit were refused."""
    loose: dict[str, int] = field(default_factory=dict)
    """Events that are in no row, by name as in `PhaseRow.taken`."""
    last_us: int = 0
    """The latest outcome that the timeline put nowhere."""
    oldest_us: int | None = None
    """Time of the oldest raw event that is kept."""

    def copy(self) -> UnitState:
        """A state that can be changed without changing this one."""
        rows = {phase: row.copy() for phase, row in self.rows.items()}
        return replace(
            self,
            timeline=list(self.timeline),
            rows=rows,
            covariates=dict(self.covariates),
            excluded=dict(self.excluded),
            loose=dict(self.loose),
        )

    def same_head(self, other: UnitState) -> bool:
        """Whether all but the rows are equal."""
        return all(getattr(self, name) == getattr(other, name) for name in _HEAD)

    def taken(self, name: str) -> int:
        """Events of an outcome name, or of EXPOSURES, that were taken in."""
        return self.loose.get(name, 0) + sum(row.taken.get(name, 0) for row in self.rows.values())

    def taken_of_all(self) -> int:
        """Events of all names that were taken in."""
        return sum(self.loose.values()) + sum(sum(row.taken.values()) for row in self.rows.values())

    @property
    def latest_us(self) -> int:
        """The latest outcome whose place the timeline decides."""
        return max(self.last_us, *(row.last_us for row in self.rows.values())) if self.rows else self.last_us

    def label_at(self, time_us: int) -> int | None:
        """Label of the last exposure at or before a time; None: there is none; _CUT: that is no longer known."""
        place = bisect.bisect_right(self.timeline, time_us, key=lambda point: point[0])
        return self.timeline[place - 1][2] if place else None


_HEAD = tuple(name for name in UnitState.__slots__ if name != "rows")


def replay(
    base: UnitState, exposures: Sequence[Exposure], outcomes: Sequence[Outcome], catalogue: Catalogue
) -> UnitState:
    """The state after these events, whatever order they came in, on top of what was folded away before them."""
    state = base.copy()
    ordered = sorted(exposures, key=lambda exposure: (exposure.time_us, exposure.exposure_id))
    for exposure in ordered:
        _remember(state, exposure)
        if exposure.forced:
            _exclude(state, exposure, "forced")
            continue
        label = label_of(exposure, catalogue)
        if not state.timeline or state.timeline[-1][2] != label:
            state.timeline.append((exposure.time_us, exposure.exposure_id, label))
        _enter(state, exposure, label, catalogue)
    references = References.of(ordered, catalogue)
    for outcome in outcomes:
        add_outcome(state, outcome, references.label(outcome) if outcome.by_reference else None, catalogue)
    _shorten(state)
    return state


def add_exposure(state: UnitState, exposure: Exposure, catalogue: Catalogue) -> bool:
    """Adds one more exposure where that moves no outcome; False: the unit has to be replayed, and nothing changed."""
    if not exposure.forced:
        label = label_of(exposure, catalogue)
        place = bisect.bisect_right(state.timeline, (exposure.time_us, exposure.exposure_id, _AFTER))
        if place == 0 or state.timeline[place - 1][2] != label:
            if place < len(state.timeline) or exposure.time_us <= state.latest_us:
                return False
            state.timeline.append((exposure.time_us, exposure.exposure_id, label))
            _shorten(state)
        _enter(state, exposure, label, catalogue)
    else:
        _exclude(state, exposure, "forced")
    _remember(state, exposure)
    return True


def add_outcome(state: UnitState, outcome: Outcome, referred: int | None, catalogue: Catalogue) -> bool:
    """Adds an outcome to the row of its phase. referred: label of the exposure it names; None: none that it can have
    followed. False: the unit has to be replayed, and nothing changed."""
    label = referred if outcome.by_reference else state.label_at(outcome.time_us)
    if label == _CUT:
        return False
    _remember(state, outcome)
    row = None if label is None else state.rows.get(label)
    last_us = 0 if outcome.by_reference else outcome.time_us
    if row is None:  # waiting, forced, another bundle, or a phase that nobody registered yet
        state.waiting += label is None
        state.last_us = max(state.last_us, last_us)
        _add(state.loose, outcome.metric)
        return True
    row.last_us = max(row.last_us, last_us)
    _add(row.taken, outcome.metric)
    for use in catalogue.runs[row.run].uses.get(outcome.metric, ()):
        totals = row.totals[use.metric]
        if outcome.time_us > row.entry_us + use.window_us:
            totals[3] += 1
            continue
        if use.as_value:
            totals[0] += outcome.value
            totals[1] += outcome.value > 0
        if use.as_denominator:
            totals[2] += outcome.value
    return True


def take_out_waiting(state: UnitState, outcome: Outcome) -> None:
    """Takes out an outcome that waits for the exposure that it names."""
    state.waiting -= 1
    _add(state.loose, outcome.metric, -1)


def _exclude(state: UnitState, exposure: Exposure, kind: str) -> None:
    _add(state.excluded, f"{exposure.phase}:{kind}")
    _add(state.loose, EXPOSURES)


def _enter(state: UnitState, exposure: Exposure, label: int, catalogue: Catalogue) -> None:
    """Counts an exposure in the row of its phase, and makes the row where it is the first. In order of time."""
    if label == NOWHERE:
        _exclude(state, exposure, estranged(exposure, catalogue) or "foreign")
        return
    run = catalogue.run_of(label)
    if run is None:
        _add(state.loose, EXPOSURES)
        return
    row = state.rows.get(label)
    if row is None:
        slice_ = catalogue.phases[label].slice_of(exposure.time_us, run.slice_us)
        row = PhaseRow(run.id, exposure.arm, exposure.time_us, slice_, run.empty_totals())
        state.rows[label] = row
    row.crossed |= row.arm != exposure.arm
    _add(row.taken, EXPOSURES)
    _count_exposure(row, exposure, run)


def _count_exposure(row: PhaseRow, exposure: Exposure, run: Run) -> None:
    """Exposures inside the window are a denominator of their own; those after it count for nothing."""
    for use in run.uses.get(EXPOSURES, ()):
        if exposure.time_us <= row.entry_us + use.window_us:
            row.totals[use.metric][2] += MICRO


def _shorten(state: UnitState) -> None:
    if len(state.timeline) > TIMELINE + 1:
        state.timeline = [(0, "", _CUT), *state.timeline[-TIMELINE:]]


def _remember(state: UnitState, event: Exposure | Outcome) -> None:
    state.oldest_us = event.time_us if state.oldest_us is None else min(state.oldest_us, event.time_us)


def _add(counts: dict[str, int], name: str, number: int = 1) -> None:
    counts[name] = counts.get(name, 0) + number
    if not counts[name]:
        del counts[name]
