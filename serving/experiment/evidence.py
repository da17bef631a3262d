"""What the statistics are given: aggregates of every metric, arm and stratum, and how many units were exposed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from serving.experiment.aggregate import Aggregate, CrossAggregate, StratumKey
from serving.experiment.counts import Counts, counts
from serving.experiment.design import ARMS, Arm, Design, Metric
from serving.experiment.document import ExperimentError, Reader

_YEAR_10000_S = 253_402_300_800.0


@dataclass(frozen=True)
class Stratum:
    """Units that entered a phase in one of its time slices. Inside a stratum the weight is constant."""

    phase: int
    slice: int
    candidate_weight: float
    """Probability of the candidate, 0..1."""
    arms: Mapping[Arm, Aggregate]
    """An arm without units may be absent."""

    def __post_init__(self) -> None:
        _check_weight(self.candidate_weight, f"stratum {self.key}")

    @property
    def key(self) -> StratumKey:
        """(phase, slice)."""
        return self.phase, self.slice

    def to_json(self) -> dict[str, object]:
        """The stratum as a JSON object."""
        return {
            "phase": self.phase,
            "slice": self.slice,
            "candidate_weight": self.candidate_weight,
            "arms": {arm: aggregate.to_json() for arm, aggregate in self.arms.items()},
        }

    @staticmethod
    def from_json(document: object, place: str = "stratum") -> Stratum:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        arms = Reader(read.inner("arms"), f"{place}.arms")
        present = {arm: arms.inner(arm, None) for arm in ARMS}
        arms.done()
        stratum = Stratum(
            phase=read.whole("phase"),
            slice=read.whole("slice"),
            candidate_weight=read.number("candidate_weight"),
            arms={
                arm: Aggregate.from_json(value, f"{place}.arms.{arm}")
                for arm, value in present.items()
                if value is not None
            },
        )
        read.done()
        return stratum


@dataclass(frozen=True)
class Exposed:
    """Units exposed in one stratum, whether or not any metric of them is mature; for the sample ratio."""

    phase: int
    slice: int
    candidate_weight: float
    units: Counts
    new_units: Counts | None = None
    """Those of them that had no row in the experiment when they came: each unit is new once. None: not counted."""

    def __post_init__(self) -> None:
        _check_weight(self.candidate_weight, f"exposed units of {(self.phase, self.slice)}")

    def to_json(self) -> dict[str, object]:
        """The counts as a JSON object."""
        return {
            "phase": self.phase,
            "slice": self.slice,
            "candidate_weight": self.candidate_weight,
            "units": dict(self.units),
            "new_units": None if self.new_units is None else dict(self.new_units),
        }

    @staticmethod
    def from_json(document: object, place: str = "exposed") -> Exposed:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        new_units = read.inner("new_units", None)
        exposed = Exposed(
            phase=read.whole("phase"),
            slice=read.whole("slice"),
            candidate_weight=read.number("candidate_weight"),
            units=counts(read.inner("units"), f"{place}.units"),
            new_units=None if new_units is None else counts(new_units, f"{place}.new_units"),
        )
        read.done()
        return exposed


@dataclass(frozen=True)
class MetricEvidence:
    """All that is known of one metric."""

    metric: Metric
    strata: tuple[Stratum, ...]
    cross: tuple[CrossAggregate, ...] = ()
    immature: Counts = field(default_factory=dict)
    """Units of each arm whose window has not closed."""
    late: Counts = field(default_factory=dict)
    """Outcomes of each arm that came after their window."""

    def __post_init__(self) -> None:
        keys = [stratum.key for stratum in self.strata]
        if len(set(keys)) < len(keys):
            raise ExperimentError(f"metric {self.metric.name!r}: a stratum is there twice")
        for stratum in self.strata:
            for arm, aggregate in stratum.arms.items():
                if aggregate.names != self.metric.columns:
                    raise ExperimentError(
                        f"metric {self.metric.name!r}, stratum {stratum.key}, {arm}: columns {aggregate.names} "
                        f"are not {self.metric.columns}"
                    )
                if self.metric.kind == "proportion" and not -1e-9 <= aggregate.mean[0] <= 1 + 1e-9:
                    raise ExperimentError(
                        f"metric {self.metric.name!r}, stratum {stratum.key}, {arm}: a proportion of "
                        f"{aggregate.mean[0]:g} is not in [0, 1]"
                    )
        cells = [(cross.stratum_a, cross.arm_a, cross.stratum_b, cross.arm_b) for cross in self.cross]
        if len(set(cells)) < len(cells):
            raise ExperimentError(f"metric {self.metric.name!r}: a cross aggregate is there twice")
        for cross in self.cross:
            if len(cross.sums_a) != len(self.metric.columns):
                raise ExperimentError(
                    f"metric {self.metric.name!r}: a cross aggregate has {len(cross.sums_a)} columns, "
                    f"not {len(self.metric.columns)}"
                )

    def to_json(self) -> dict[str, object]:
        """The evidence as a JSON object."""
        return {
            "metric": self.metric.name,
            "strata": [stratum.to_json() for stratum in self.strata],
            "cross": [cross.to_json() for cross in self.cross],
            "immature": dict(self.immature),
            "late": dict(self.late),
        }

    @staticmethod
    def from_json(document: object, design: Design, place: str = "metric evidence") -> MetricEvidence:
        """The metric is named; the design says what it is. Raises ExperimentError in one line."""
        read = Reader(document, place)
        evidence = MetricEvidence(
            metric=design.metric(read.text("metric")),
            strata=read.many("strata", Stratum.from_json),
            cross=read.many("cross", CrossAggregate.from_json, ()),
            immature=counts(read.inner("immature", {}), f"{place}.immature"),
            late=counts(read.inner("late", {}), f"{place}.late"),
        )
        read.done()
        return evidence


@dataclass(frozen=True)
class ExperimentEvidence:
    """Everything a verdict reads, as it was at one moment."""

    design: Design
    as_of: float
    """Unix seconds."""
    metrics: tuple[MetricEvidence, ...]
    exposed: tuple[Exposed, ...] = ()
    crossovers: int = 0
    """Units seen in both arms within one phase; they are excluded."""
    forced: int = 0
    """Exposures whose arm was forced by a header; they are excluded."""
    waiting: int = 0
    """Outcomes whose exposure has not come yet."""
    capped: int = 0
    """Units whose events beyond the cap of events a unit were dropped."""
    foreign: int = 0
    """Exposures answered by a model that is neither arm's of this run; they are excluded."""
    mismatch: int = 0
    """Exposures whose propensity is another than their phase's weight; they are excluded."""
    early: int = 0
    """Exposures from before their phase began; they are excluded."""

    def __post_init__(self) -> None:
        place = f"evidence of {self.design.experiment!r}"
        if not 0 <= self.as_of < _YEAR_10000_S:
            raise ExperimentError(f"{place}: as_of {self.as_of} is no unix time in seconds")
        for name in ("crossovers", "forced", "waiting", "capped", "foreign", "mismatch", "early"):
            if getattr(self, name) < 0:
                raise ExperimentError(f"{place}: {getattr(self, name)} {name}")
        if len({(one.phase, one.slice) for one in self.exposed}) < len(self.exposed):
            raise ExperimentError(f"{place}: the exposed units of a stratum are there twice")
        weights = {(one.phase, one.candidate_weight) for one in self.exposed}
        if len(weights) > len({phase for phase, _ in weights}):
            raise ExperimentError(f"{place}: a phase has two weights; every weight is a phase of its own")
        names = [evidence.metric.name for evidence in self.metrics]
        if len(set(names)) < len(names):
            raise ExperimentError(f"{place}: a metric is there twice")
        for evidence in self.metrics:
            if self.design.metric(evidence.metric.name) != evidence.metric:
                raise ExperimentError(f"metric {evidence.metric.name!r}: evidence and design define it differently")

    def to_json(self) -> dict[str, object]:
        """The evidence as a JSON object, the design with it."""
        return {"design": self.design.to_json(), **self._moment()}

    def _moment(self) -> dict[str, object]:
        return {
            "as_of": self.as_of,
            "metrics": [evidence.to_json() for evidence in self.metrics],
            "exposed": [exposed.to_json() for exposed in self.exposed],
            "crossovers": self.crossovers,
            "forced": self.forced,
            "waiting": self.waiting,
            "capped": self.capped,
            "foreign": self.foreign,
            "mismatch": self.mismatch,
            "early": self.early,
        }

    @staticmethod
    def from_json(document: object, place: str = "evidence") -> ExperimentEvidence:
        """Raises ExperimentError in one line."""
        read = Reader(document, place)
        design = Design.from_json(read.inner("design"), f"{place}.design")
        evidence = _moment_of(read, design)
        read.done()
        return evidence


@dataclass(frozen=True)
class EvidenceSeries:
    """The same experiment at rising moments; the last is the present one. Every moment holds all evidence up to it."""

    snapshots: tuple[ExperimentEvidence, ...]

    def __post_init__(self) -> None:
        if not self.snapshots:
            raise ExperimentError("an evidence series without a snapshot")
        for earlier, later in zip(self.snapshots, self.snapshots[1:], strict=False):
            if earlier.design != later.design:
                raise ExperimentError(f"series of {earlier.design.experiment!r}: its snapshots have different designs")
            if earlier.as_of >= later.as_of:
                raise ExperimentError(
                    f"series of {earlier.design.experiment!r}: {later.as_of} does not come after {earlier.as_of}"
                )

    @property
    def design(self) -> Design:
        """The one design of all snapshots."""
        return self.snapshots[0].design

    @property
    def last(self) -> ExperimentEvidence:
        """The evidence as it is now."""
        return self.snapshots[-1]

    def __iter__(self) -> Iterator[ExperimentEvidence]:
        return iter(self.snapshots)

    def to_json(self) -> dict[str, object]:
        """The series as a JSON object; the design is written once."""
        return {
            "design": self.design.to_json(),
            "snapshots": [snapshot._moment() for snapshot in self.snapshots],  # the same module
        }

    @staticmethod
    def from_json(document: object, place: str = "evidence") -> EvidenceSeries:
        """Takes a series, or one moment's evidence as a series of one. Raises ExperimentError in one line."""
        read = Reader(document, place)
        if read.inner("snapshots", None) is None:
            return EvidenceSeries((ExperimentEvidence.from_json(document, place),))
        design = Design.from_json(read.inner("design"), f"{place}.design")

        def moment(value: object, at: str) -> ExperimentEvidence:
            inner = Reader(value, at)
            evidence = _moment_of(inner, design)
            inner.done()
            return evidence

        series = EvidenceSeries(read.many("snapshots", moment))
        read.done()
        return series


def _moment_of(read: Reader, design: Design) -> ExperimentEvidence:
    evidence = ExperimentEvidence(
        design=design,
        as_of=read.number("as_of"),
        metrics=read.many("metrics", lambda value, place: MetricEvidence.from_json(value, design, place)),
        exposed=read.many("exposed", Exposed.from_json, ()),
        crossovers=read.whole("crossovers", 0),
        forced=read.whole("forced", 0),
        waiting=read.whole("waiting", 0),
        capped=read.whole("capped", 0),
        foreign=read.whole("foreign", 0),
        mismatch=read.whole("mismatch", 0),
        early=read.whole("early", 0),
    )
    _check_exposed(evidence, read.place)
    return evidence


def _check_exposed(evidence: ExperimentEvidence, place: str) -> None:
    """Units that a metric counts were exposed: without them nothing would tell a sample ratio that is broken."""
    units = {(one.phase, one.slice, arm): one.units.get(arm, 0) for one in evidence.exposed for arm in ARMS}
    for one in evidence.metrics:
        for stratum in one.strata:
            for arm, aggregate in stratum.arms.items():
                exposed = units.get((*stratum.key, arm), 0)
                if aggregate.count > exposed:
                    raise ExperimentError(
                        f"{place}: metric {one.metric.name!r} has {aggregate.count} units of the {arm} in stratum "
                        f"{stratum.key}, of whom only {exposed} are in `exposed`"
                    )


def _check_weight(weight: float, place: str) -> None:
    if not 0 <= weight <= 1:
        raise ExperimentError(f"{place}: the candidate's weight {weight} is not in [0, 1]")
