"""What an experiment compares, by which metrics, at which level; fixed before the first unit is exposed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from serving.experiment.document import ExperimentError, Reader, words

Arm: TypeAlias = Literal["baseline", "candidate"]
Kind: TypeAlias = Literal["mean", "proportion", "ratio"]
Better: TypeAlias = Literal["higher", "lower"]
Role: TypeAlias = Literal["primary", "non_inferior", "secondary"]

BASELINE: Arm = "baseline"
CANDIDATE: Arm = "candidate"
ARMS: tuple[Arm, Arm] = (BASELINE, CANDIDATE)

EXPOSURES = "exposures"
"""The outcome name that counts a unit's exposures, as the denominator of a ratio (PCTR: clicks an exposure)."""

DAY_S = 86_400.0
YEAR_S = 366 * DAY_S


@dataclass(frozen=True)
class Metric:
    """What is measured of each unit, and what it decides."""

    name: str
    kind: Kind
    value: str
    """Outcome whose values are summed for each unit; of a proportion, the outcome that a unit has had or not."""
    denominator: str | None = None
    """Outcome in the denominator of a ratio; `exposures` counts the unit's exposures."""
    cap: float | None = None
    """Winsorising: the unit's value counts up to here."""
    covariate: str | None = None
    """Pre-period covariate, uploaded for each unit, that takes variance out (CUPED)."""
    maturity_s: float = 0.0
    """Seconds after its entry into the phase at which a unit begins to count; later outcomes are counted apart."""
    better: Better = "higher"
    role: Role = "primary"
    margin: float = 0.0
    """What a non-inferior metric may lose, relative to the baseline: 0.01 is one percent."""
    sd: float | None = None
    """Standard deviation of a unit's value, from planning (of a ratio: of value less ratio times denominator; with a
    covariate: of what that leaves). It fixes the scale of the confidence sequence in advance;
    without it the scale is estimated, which supposes that a unit's value no longer grows (see sequence.py)."""
    min_events: int | None = None
    """In place of the design's; 0: judged as soon as the burn-in is over. A metric whose values may lie on both sides
    of 0 needs it: the mean, from which events are told, may then be near 0 for ever."""

    def __post_init__(self) -> None:
        place = f"metric {self.name!r}"
        _one_of(place, "kind", self.kind, get_args(Kind))
        _one_of(place, "better", self.better, get_args(Better))
        _one_of(place, "role", self.role, get_args(Role))
        if (self.kind == "ratio") != (self.denominator is not None):
            right = "names its denominator" if self.kind == "ratio" else "has no denominator"
            raise ExperimentError(f"{place}: a {self.kind} {right}")
        if self.kind == "proportion" and self.cap is not None:
            raise ExperimentError(f"{place}: a proportion is 0 or 1 and takes no cap")
        for name in ("cap", "sd"):
            found = getattr(self, name)
            if found is not None:
                _check(place, name, found, lambda value: 1e-9 <= value <= 1e15, "a number above 0, from 1e-9 to 1e15")
        _check(
            place, "maturity_s", self.maturity_s, lambda value: 0 <= value <= YEAR_S, "seconds, 0 or more, up to a year"
        )
        _check(place, "margin", self.margin, lambda value: 0 <= value < 1, "a share of the baseline in [0, 1)")
        if self.min_events is not None:
            _check(place, "min_events", self.min_events, lambda value: 0 <= value <= 1e12, "at least 0, up to 1e12")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the metric's aggregates, in their order."""
        present = {"value": True, "denominator": self.denominator is not None, "covariate": self.covariate is not None}
        return tuple(name for name, there in present.items() if there)

    def to_json(self) -> dict[str, object]:
        """The metric as a JSON object."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(document: object, place: str = "metric") -> Metric:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        metric = Metric(
            name=read.text("name"),
            kind=_one_of(place, "kind", read.text("kind"), get_args(Kind)),
            value=read.text("value"),
            denominator=read.optional_text("denominator"),
            cap=read.optional_number("cap"),
            covariate=read.optional_text("covariate"),
            maturity_s=read.number("maturity_s", 0.0),
            better=_one_of(place, "better", read.text("better", "higher"), get_args(Better)),
            role=_one_of(place, "role", read.text("role", "primary"), get_args(Role)),
            margin=read.number("margin", 0.0),
            sd=read.optional_number("sd"),
            min_events=read.optional_whole("min_events"),
        )
        read.done()
        return metric


@dataclass(frozen=True)
class Design:
    """An experiment between two model digests. A new candidate digest is a new run with fresh evidence."""

    experiment: str
    salt: str
    baseline_digest: str
    candidate_digest: str
    metrics: tuple[Metric, ...]
    alpha: float = 0.05
    """Chance that an interval ever misses, over all looks."""
    slice_s: float = DAY_S
    """Length of the time slices inside a phase, in seconds."""
    burn_in: int = 100
    """Units of each arm that a stratum needs before it counts."""
    min_events: int = 10
    """Units with an outcome that are expected in the smaller arm before a metric is judged: below it no normal
    approximation holds."""
    planned_units: int = 10_000
    """Units of both arms, equally split, at which the confidence sequence is tightest."""
    min_effect: float = 0.01
    """Smallest relative effect on a primary metric that is worth finding; for power and duration."""
    power: float = 0.8
    """Wanted chance to find `min_effect`."""
    sample_ratio_alarm: float = 1e-3
    """The sample-ratio p-value below which the evidence is invalid."""
    crossover_limit: float = 0.01
    """Share of the units that may be seen in both arms of a phase, and be left out, before the evidence is invalid:
    those who change arms are not like those who stay."""

    def __post_init__(self) -> None:
        place = f"experiment {self.experiment!r}"
        if not self.metrics:
            raise ExperimentError(f"{place}: there is no metric")
        names = [metric.name for metric in self.metrics]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ExperimentError(f"{place}: the metric {twice[0]!r} is there twice")
        if all(metric.role != "primary" for metric in self.metrics):
            raise ExperimentError(f"{place}: no metric is primary, so nothing can be won")
        if self.baseline_digest == self.candidate_digest:
            raise ExperimentError(f"{place}: baseline and candidate have the same digest {self.baseline_digest!r}")
        for name, fits, right in _RANGES:
            _check(place, name, getattr(self, name), fits, right)

    @property
    def run(self) -> tuple[str, str, str]:
        """The key of the evidence: experiment, baseline digest, candidate digest."""
        return self.experiment, self.baseline_digest, self.candidate_digest

    def metric(self, name: str) -> Metric:
        """The metric of that name. Raises ExperimentError where there is none."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        known = words(metric.name for metric in self.metrics)
        raise ExperimentError(f"experiment {self.experiment!r}: no metric {name!r}; there are {known}")

    def to_json(self) -> dict[str, object]:
        """The design as a JSON object."""
        return {**dataclasses.asdict(self), "metrics": [metric.to_json() for metric in self.metrics]}

    @staticmethod
    def from_json(document: object, place: str = "design") -> Design:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        design = Design(
            experiment=read.text("experiment"),
            salt=read.text("salt"),
            baseline_digest=read.text("baseline_digest"),
            candidate_digest=read.text("candidate_digest"),
            metrics=read.many("metrics", Metric.from_json),
            alpha=read.number("alpha", 0.05),
            slice_s=read.number("slice_s", DAY_S),
            burn_in=read.whole("burn_in", 100),
            min_events=read.whole("min_events", 10),
            planned_units=read.whole("planned_units", 10_000),
            min_effect=read.number("min_effect", 0.01),
            power=read.number("power", 0.8),
            sample_ratio_alarm=read.number("sample_ratio_alarm", 1e-3),
            crossover_limit=read.number("crossover_limit", 0.01),
        )
        read.done()
        return design


_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("alpha", lambda value: 1e-9 <= value < 0.5, "between 0 and 0.5, at least 1e-9"),
    ("slice_s", lambda value: 60 <= value <= YEAR_S, "at least 60 seconds and at most a year"),
    ("burn_in", lambda value: 2 <= value <= 1e12, "at least 2 units, up to 1e12"),
    ("min_events", lambda value: 1 <= value <= 1e12, "at least 1, up to 1e12"),
    ("planned_units", lambda value: 10 <= value <= 1e12, "at least 10 units, up to 1e12"),
    ("min_effect", lambda value: 1e-9 <= value < 10, "a share of the baseline above 0, from 1e-9 to below 10"),
    ("power", lambda value: 0.5 <= value <= 0.9999, "in [0.5, 0.9999]"),
    ("sample_ratio_alarm", lambda value: 1e-15 <= value < 0.5, "between 0 and 0.5, at least 1e-15"),
    ("crossover_limit", lambda value: 0 < value <= 1, "a share above 0"),
)


def _one_of(place: str, name: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise ExperimentError(f"{place}.{name}: {value!r} is none of {words(allowed)}")
    return value


def _check(place: str, name: str, value: float, fits: Callable[[float], bool], right: str) -> None:
    if not fits(value):
        raise ExperimentError(f"{place}.{name}: {value!r} is not {right}")
