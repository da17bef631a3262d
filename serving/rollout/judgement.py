"""Between the resource and the statistics: a spec as a design, an analysis as readings. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.experiment.analysis import Analysis, MetricAnalysis
from serving.experiment.design import Better, Design, Kind, Metric, Role
from serving.experiment.evidence import Exposed
from serving.experiment.verdict import improvement, verdict
from serving.rollout.readings import MetricReading, Readings
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.spec_measures import Metric as MetricSpec
from serving.rollout.state import Alarm, Run, State

_KINDS: dict[str, Kind] = {"Mean": "mean", "Proportion": "proportion", "Ratio": "ratio"}
_BETTER: dict[str, Better] = {"Higher": "higher", "Lower": "lower"}
_ROLES: dict[str, Role] = {"Primary": "primary", "NonInferior": "non_inferior", "Secondary": "secondary"}


@dataclass(frozen=True)
class Naming:
    """What a rollout is called in routers, logs and the evidence."""

    identity: str
    """Stored.identity: a name that no other rollout has."""
    salt: str

    @classmethod
    def of(cls, spec: ModelRolloutSpec, identity: str) -> Naming:
        """The names of a rollout."""
        return cls(identity, spec.analysis.salt or identity)

    def experiment(self, run: str) -> str:
        """Name of the experiment of a run (its id). Another attempt is another experiment: its evidence must not mix
        with the old."""
        return f"{self.identity}.{run.rpartition('-')[2]}"


def design_of(spec: ModelRolloutSpec, run: Run, identity: str) -> Design:
    """The experiment that a run is. identity: a name that no other rollout has. Raises ExperimentError."""
    analysis, naming = spec.analysis, Naming.of(spec, identity)
    return Design(
        experiment=naming.experiment(run.id),
        salt=naming.salt,
        baseline_digest=run.baseline,
        candidate_digest=run.candidate,
        metrics=tuple(_metric(metric) for metric in spec.metrics),
        alpha=analysis.alpha,
        slice_s=float(analysis.slice_seconds),
        burn_in=analysis.burn_in_units,
        min_events=analysis.min_events,
        planned_units=analysis.planned_units,
        min_effect=analysis.min_effect,
        sample_ratio_alarm=analysis.sample_ratio_alpha,
    )


def _metric(spec: MetricSpec) -> Metric:
    return Metric(
        name=spec.name,
        kind=_KINDS[spec.kind],
        value=spec.value,
        denominator=spec.denominator,
        cap=spec.cap,
        covariate=spec.covariate,
        maturity_s=float(spec.maturity_seconds),
        better=_BETTER[spec.better],
        role=_ROLES[spec.role],
        margin=spec.margin,
        sd=spec.standard_deviation,
    )


def readings_of(analysis: Analysis, exposed: Sequence[Exposed], state: State) -> Readings:
    """What decide() is told of an analysis of the state's run.

    A sample ratio that a person has acknowledged no longer makes the verdict invalid, until the evidence against it has
    grown by as much again (View.alarm_limit says why).
    """
    p_value = analysis.sample_ratio.p_value
    judged = verdict(_waived(analysis) if _is_acknowledged(state.alarm, p_value, analysis.design) else analysis)
    units = units_of(exposed, state.stratum)
    return Readings(
        run=None if state.run is None else state.run.id,
        as_of=analysis.as_of,
        verdict=judged.kind,
        words=judged.words,
        metrics=tuple(_reading(one) for one in analysis.metrics if one.metric.name not in analysis.missing),
        sample_ratio_p=p_value,
        stratum=state.stratum,
        baseline_units=units[0],
        candidate_units=units[1],
    )


def units_of(exposed: Sequence[Exposed], stratum: int) -> tuple[int, int]:
    """(baseline, candidate) units exposed under that weight, over its time slices."""
    here = [each.units for each in exposed if each.phase == stratum]
    return sum(units.get("baseline", 0) for units in here), sum(units.get("candidate", 0) for units in here)


def _is_acknowledged(alarm: Alarm | None, p_value: float, design: Design) -> bool:
    return alarm is not None and alarm.acknowledged and not p_value < alarm.p_value * design.sample_ratio_alarm


def _waived(analysis: Analysis) -> Analysis:
    return replace(analysis, sample_ratio=replace(analysis.sample_ratio, p_value=1.0))


def _reading(one: MetricAnalysis) -> MetricReading:
    units = (one.units.get("baseline", 0), one.units.get("candidate", 0))
    if one.estimate is None:  # too little to say anything, which is no fault
        return MetricReading(one.metric.name, None, -math.inf, math.inf, *units)
    lift, gain = one.estimate.lift_interval, improvement(one.metric, one.estimate.interval)
    proof = gain.lower if one.metric.role == "primary" else one.estimate.within_margin
    return MetricReading(one.metric.name, one.estimate.lift, lift.lower, lift.upper, *units, proof=proof)
