"""Runs and phases of an experiment, and which outcomes count where.

A run is an experiment with one pair of digests: a new candidate begins a new run with fresh evidence. A phase is a
stretch of time with one candidate weight and belongs to one run; its number is unique in the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from serving.evidence.event import MICRO, SECOND
from serving.experiment.design import EXPOSURES, Design
from serving.gateway.assignment import Arm

ENDLESS = 2**61
"""A window that never closes, in microseconds: a time plus this still is a 64-bit number."""


SKEW_US = 300 * SECOND
"""How far the clocks of those who tell of a phase may be apart."""


@dataclass(frozen=True)
class Bounds:
    """What a value of an outcome may be; beyond it an event is refused."""

    lowest: float = 0.0
    highest: float = 1e9

    def __str__(self) -> str:
        return f"{self.lowest:g} to {self.highest:g}"


@dataclass(frozen=True, slots=True)
class Use:
    """One metric's use of an outcome name."""

    metric: int
    """Place in the design."""
    as_value: bool
    as_denominator: bool
    window_us: int


@dataclass(frozen=True)
class Run:
    """A design as it was registered, with what is looked up for every event."""

    id: int
    design: Design
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    """By outcome name, where they differ from the default."""

    @cached_property
    def uses(self) -> Mapping[str, tuple[Use, ...]]:
        """By outcome name: the metrics that count it."""
        found: dict[str, list[Use]] = {}
        for place, metric in enumerate(self.design.metrics):
            for name in {metric.value, metric.denominator} - {None}:
                use = Use(place, metric.value == name, metric.denominator == name, self.windows_us[place])
                found.setdefault(str(name), []).append(use)
        return {name: tuple(uses) for name, uses in found.items()}

    @cached_property
    def windows_us(self) -> tuple[int, ...]:
        """By metric: how long after its entry a unit's outcomes count. Without a maturity there is no end."""
        return tuple(
            round(min(metric.maturity_s * SECOND, ENDLESS)) if metric.maturity_s else ENDLESS
            for metric in self.design.metrics
        )

    @cached_property
    def caps(self) -> tuple[int | None, ...]:
        """By metric: where a unit's value is cut off, in MICRO units."""
        return tuple(None if metric.cap is None else round(metric.cap * MICRO) for metric in self.design.metrics)

    @cached_property
    def slice_us(self) -> int:
        """Length of a time slice in microseconds."""
        return max(1, round(self.design.slice_s * SECOND))

    @cached_property
    def covariates(self) -> frozenset[str]:
        """Names of the covariates that its metrics use."""
        return frozenset(metric.covariate for metric in self.design.metrics if metric.covariate is not None)

    def digest(self, arm: Arm) -> str:
        """The digest that an arm answers with."""
        return self.design.candidate_digest if arm == "candidate" else self.design.baseline_digest

    def empty_totals(self) -> list[list[int]]:
        """Sums of a unit that did nothing yet: per metric value, hits, denominator, late."""
        return [[0, 0, 0, 0] for _ in self.design.metrics]


@dataclass(frozen=True)
class Phase:
    """A stretch of time with one weight."""

    number: int
    run: int
    start_us: int
    candidate_weight: float

    def slice_of(self, time_us: int, slice_us: int) -> int:
        """The time slice of an entry; one that is shortly before the start (another clock) is in the first."""
        return max(0, (time_us - self.start_us) // slice_us)


@dataclass(frozen=True)
class Catalogue:
    """All runs and phases of one experiment."""

    experiment: str
    runs: Mapping[int, Run] = field(default_factory=dict)
    phases: Mapping[int, Phase] = field(default_factory=dict)

    def run_of(self, phase: int) -> Run | None:
        """The run that a phase belongs to; None: nobody registered the phase yet."""
        found = self.phases.get(phase)
        return None if found is None else self.runs[found.run]

    @cached_property
    def outcome_names(self) -> frozenset[str]:
        """Outcome names that some metric of some run counts."""
        return frozenset(name for run in self.runs.values() for name in run.uses) - {EXPOSURES}

    @cached_property
    def covariate_names(self) -> frozenset[str]:
        """Covariates that some metric of some run uses."""
        return frozenset(name for run in self.runs.values() for name in run.covariates)

    def bounds(self, outcome: str) -> Bounds:
        """What a value may be, by the latest run that says so."""
        for run in sorted(self.runs.values(), key=lambda run: -run.id):
            if outcome in run.bounds:
                return run.bounds[outcome]
        return _DEFAULT_BOUNDS


_DEFAULT_BOUNDS = Bounds()
