"""What the store knows of one unit in one experiment: its timeline of phases, and its running sums per phase.

Pure. The state is a function of the set of the unit's events, whatever their order (`replay`). Most events can be
added to a state in constant time (`add_exposure`, `add_outcome`); the rest ask for a replay of the unit's own events.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from serving.evidence.event import MICRO, Arm, Exposure, Outcome
from serving.evidence.run import Catalogue, Run
from serving.experiment.design import EXPOSURES

NOWHERE = -1
"""Label of an exposure that is no evidence of its phase: another bundle than the run's answered."""

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

    def copy(self) -> PhaseRow:
        """A row that can be changed without changing this one."""
        return PhaseRow(self.run, self.arm, self.entry_us, self.slice, [list(t) for t in self.totals], self.crossed)


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

    def copy(self) -> UnitState:
        """A state that can be changed without changing this one."""
        rows = {phase: row.copy() for phase, row in self.rows.items()}
        return UnitState(
            list(self.timeline), rows, dict(self.covariates), dict(self.excluded), self.waiting, self.capped
        )

    def same_head(self, other: UnitState) -> bool:
        """Whether all but the rows are equal."""
        return (self.timeline, self.covariates, self.excluded, self.waiting, self.capped) == (
            other.timeline,
            other.covariates,
            other.excluded,
            other.waiting,
            other.capped,
        )

    def label_at(self, time_us: int) -> int | None:
        """Label of the last exposure at or before a time; None: there is none."""
        place = bisect.bisect_right(self.timeline, time_us, key=lambda point: point[0])
        return self.timeline[place - 1][2] if place else None


def label_of(exposure: Exposure, catalogue: Catalogue) -> int:
    """The phase that an exposure belongs to, or NOWHERE where its digest is not that of the phase's run."""
    run = catalogue.run_of(exposure.phase)
    if run is not None and exposure.digest != run.digest(exposure.arm):
        return NOWHERE
    return exposure.phase


def replay(
    base: UnitState, exposures: Sequence[Exposure], outcomes: Sequence[Outcome], catalogue: Catalogue
) -> UnitState:
    """The state after these events, whatever order they came in, on top of what was folded away before them."""
    state = base.copy()
    ordered = sorted(exposures, key=lambda exposure: (exposure.time_us, exposure.exposure_id))
    for exposure in ordered:
        if exposure.forced:
            _exclude(state, exposure, "forced")
            continue
        label = label_of(exposure, catalogue)
        if not state.timeline or state.timeline[-1][2] != label:
            state.timeline.append((exposure.time_us, exposure.exposure_id, label))
        _enter(state, exposure, label, catalogue)
    references = References(ordered, catalogue)
    for outcome in outcomes:
        add_outcome(state, outcome, references.label(outcome) if outcome.by_reference else None, catalogue)
    return state


def add_exposure(state: UnitState, exposure: Exposure, catalogue: Catalogue) -> bool:
    """Adds one more exposure where that moves no outcome; False: the unit has to be replayed, and nothing changed."""
    if exposure.forced:
        _exclude(state, exposure, "forced")
        return True
    label = label_of(exposure, catalogue)
    place = bisect.bisect_right(state.timeline, (exposure.time_us, exposure.exposure_id, _AFTER))
    if place == 0 or state.timeline[place - 1][2] != label:
        return False
    _enter(state, exposure, label, catalogue)
    return True


def add_outcome(state: UnitState, outcome: Outcome, referred: int | None, catalogue: Catalogue) -> None:
    """Adds an outcome to the row of its phase. referred: label of the exposure it names; None: not seen."""
    label = referred if outcome.by_reference else state.label_at(outcome.time_us)
    if label is None:
        state.waiting += 1
        return
    row = state.rows.get(label)
    if row is None:  # forced, another bundle, or a phase that nobody registered yet
        return
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


class References:
    """Which exposure an outcome names: by exposure id, or the first of a request id.

    An outcome that names a unit as well means an exposure of that unit; another's is not the one.
    """

    def __init__(self, exposures: Iterable[Exposure], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._by_id: dict[str, Exposure] = {}
        self._by_request: dict[tuple[str, str | None], Exposure] = {}
        for exposure in sorted(exposures, key=lambda exposure: (exposure.time_us, exposure.exposure_id)):
            self._by_id[exposure.exposure_id] = exposure
            if exposure.request_id is not None:
                self._by_request.setdefault((exposure.request_id, exposure.unit), exposure)
                self._by_request.setdefault((exposure.request_id, None), exposure)

    def find(self, outcome: Outcome) -> Exposure | None:
        """The exposure that an outcome refers to; an exposure id counts before a request id."""
        if outcome.exposure_id is not None:
            found = self._by_id.get(outcome.exposure_id)
            return found if found is not None and outcome.unit in {None, found.unit} else None
        return self._by_request.get((outcome.request_id, outcome.unit)) if outcome.request_id is not None else None

    def owner(self, outcome: Outcome) -> str | None:
        """The unit that an outcome counts for; None: its exposure has not been seen."""
        if outcome.unit is not None:
            return outcome.unit
        found = self.find(outcome)
        return None if found is None else found.unit

    def label(self, outcome: Outcome) -> int | None:
        """Label of that exposure; NOWHERE where it was forced; None where it has not been seen."""
        exposure = self.find(outcome)
        if exposure is None:
            return None
        return NOWHERE if exposure.forced else label_of(exposure, self._catalogue)


def _exclude(state: UnitState, exposure: Exposure, kind: str) -> None:
    name = f"{exposure.phase}:{kind}"
    state.excluded[name] = state.excluded.get(name, 0) + 1


def _enter(state: UnitState, exposure: Exposure, label: int, catalogue: Catalogue) -> None:
    """Counts an exposure in the row of its phase, and makes the row where it is the first. In order of time."""
    if label == NOWHERE:
        _exclude(state, exposure, "foreign")
        return
    run = catalogue.run_of(label)
    if run is None:
        return
    row = state.rows.get(label)
    if row is None:
        slice_ = catalogue.phases[label].slice_of(exposure.time_us, run.slice_us)
        row = PhaseRow(run.id, exposure.arm, exposure.time_us, slice_, run.empty_totals())
        state.rows[label] = row
    row.crossed |= row.arm != exposure.arm
    _count_exposure(row, exposure, run)


def _count_exposure(row: PhaseRow, exposure: Exposure, run: Run) -> None:
    """Exposures inside the window are a denominator of their own; those after it count for nothing."""
    for use in run.uses.get(EXPOSURES, ()):
        if exposure.time_us <= row.entry_us + use.window_us:
            row.totals[use.metric][2] += MICRO
