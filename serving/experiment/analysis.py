"""From evidence to an analysis: each metric's effect with its intervals, the sample ratio, the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from serving.experiment import fixed_horizon, sequence
from serving.experiment.aggregate import Floats
from serving.experiment.counts import Counts, total
from serving.experiment.design import Design, Metric
from serving.experiment.evidence import ExperimentEvidence, MetricEvidence
from serving.experiment.forecast import Standing, days_until_known, power_left, rate_a_day
from serving.experiment.interval import Interval, ratio_interval
from serving.experiment.lift import Lift
from serving.experiment.margin import margin_of
from serving.experiment.returns import Returns, returns
from serving.experiment.sample_ratio import SampleRatio, sample_ratio
from serving.experiment.strata import Strata, strata_of
from serving.experiment.stratified import B, C, Score, stratified_score


@dataclass(frozen=True)
class Estimate:
    """What a metric's evidence says."""

    baseline: float
    """Level of the baseline, strata weighted as in the effect."""
    candidate: float
    effect: float
    """Candidate less baseline, stratified, covariate taken out."""
    interval: Interval
    """Always-valid, of the effect."""
    lift: float | None
    """Candidate over baseline, less 1; None where the baseline's level is 0 or below, of which there are no shares."""
    lift_interval: Interval
    """Always-valid, of the lift; infinite where the baseline's level is not told above 0."""
    fixed: Interval
    """Of the effect, for one look at the end."""
    fixed_lift: Interval
    """Of the lift, for one look at the end."""
    p_fixed: float
    """Two-sided, for one look at the end."""
    pooled_lift: float | None
    """Lift if phases and slices are ignored."""
    pooled_lift_interval: Interval | None
    """Of the pooled lift, for one look at the end."""
    e_value: float
    """Against no effect; 1 / alpha rejects it at any time."""
    e_harm: float
    """Against `not worse than the margin`."""
    within_margin: float
    """Always-valid lower end of (candidate - baseline) + margin |baseline|, of a metric that is better lower of
    (baseline - candidate) + margin |baseline|: above 0 it is not inferior."""
    variance_reduction: float | None
    """Share of the variance that the covariate takes out."""
    returning: float
    """Variance that units in several phases add, relative to the variance without them."""
    standing: Standing
    power_left: float | None
    """Chance to still find the smallest effect of interest by the planned units; None where it was not asked for."""
    days_left: float | None
    """Until the chance to have found it is the wanted power; None beyond ten years, or where it was not asked for."""


@dataclass(frozen=True)
class MetricAnalysis:
    """One metric: its estimate, or why there is none yet."""

    metric: Metric
    estimate: Estimate | None
    reason: str
    """Why there is no estimate; empty where there is one."""
    units: Counts
    """Units that count, by arm."""
    strata: int
    """Strata that count."""
    strata_waiting: int
    """Strata that have not passed the burn-in."""
    immature: Counts
    late: Counts


@dataclass(frozen=True)
class Analysis:
    """An experiment at one moment."""

    design: Design
    as_of: float
    metrics: tuple[MetricAnalysis, ...]
    """Those of the design, in its order; a metric without evidence has no estimate."""
    sample_ratio: SampleRatio
    returns: Returns
    crossovers: int
    """Units that were in both arms of a phase and are left out."""
    crossover_share: float
    """Of all units."""
    missing: tuple[str, ...]
    """Metrics of the design that have no evidence at all."""


def analyse(evidence: ExperimentEvidence, *, forecast: bool = True) -> Analysis:
    """The whole analysis from the aggregates; raw events are never read. forecast: power left and days left too."""
    design = evidence.design
    found = {one.metric.name: one for one in evidence.metrics}
    rate = rate_a_day(evidence.exposed, design.slice_s) if forecast else None
    return Analysis(
        design=design,
        as_of=evidence.as_of,
        metrics=tuple(
            analyse_metric(found.get(metric.name, MetricEvidence(metric, ())), design, rate)
            for metric in design.metrics
        ),
        sample_ratio=sample_ratio(evidence.exposed),
        returns=returns(evidence.exposed),
        crossovers=evidence.crossovers,
        crossover_share=evidence.crossovers
        / max(1, evidence.crossovers + sum(total(one.units for one in evidence.exposed))),
        missing=tuple(metric.name for metric in design.metrics if metric.name not in found),
    )


def analyse_metric(evidence: MetricEvidence, design: Design, rate: float | None) -> MetricAnalysis:
    """One metric. rate: growth of n_B n_C / (n_B + n_C) a day, for the forecast; None leaves that out."""
    strata = strata_of(evidence)
    counted = strata.counted(design.burn_in)
    score = stratified_score(strata, counted)
    reason = _not_ready(evidence.metric, design, strata, counted, score)
    units = (strata.count * counted[:, None]).sum(axis=0)
    return MetricAnalysis(
        metric=evidence.metric,
        estimate=None if reason else _estimate(evidence.metric, design, strata, score, rate),
        reason=reason,
        units={"baseline": int(units[B]), "candidate": int(units[C])},
        strata=int(counted.sum()),
        strata_waiting=int((~counted).sum()),
        immature=evidence.immature,
        late=evidence.late,
    )


def _not_ready(metric: Metric, design: Design, strata: Strata, counted: NDArray[np.bool_], score: Score) -> str:
    if not counted.any():
        return f"no stratum has {design.burn_in} units in each arm"
    events = float(expected_events(metric, strata, counted))
    needed = design.min_events if metric.min_events is None else metric.min_events
    if events < needed:
        return f"about {events:.1f} units with an outcome in the smaller arm, {needed} are needed"
    if sequence.difference_variance(score.common) <= 0:
        return "all units of an arm have the same value"
    if not _computable(metric, design, score):
        return "its numbers are too large or too small to be computed with"
    return ""


def _computable(metric: Metric, design: Design, score: Score) -> bool:
    variance = sequence.difference_variance(sequence.variance_of(score))
    clock = float(sequence.clock(score, variance, design.planned_units, design.alpha, metric.sd))
    parts = (score.level, score.own, score.common, score.cross, score.freedom, score.unadjusted)
    return all(np.isfinite(part).all() for part in parts) and 0 < clock < math.inf


def expected_events(metric: Metric, strata: Strata, counted: NDArray[np.bool_]) -> Floats:
    """Units with an outcome that the smaller arm of each stratum would have if the arms were equal, [...].

    n (mean)^2 / mean square, which is n p for zeros and ones and fewer for skewed values (Kish's effective number); of
    a proportion near 1, the units without. Arms are taken together: where values are 0 or above, the rule hardly
    looks at the effect. Where they lie on both sides of 0 it says nothing, and a metric has its own `min_events`.
    """
    count, mean = strata.count, strata.mean[..., 0]
    total = np.maximum(count.sum(axis=-1), 1)
    middle = (count * mean).sum(axis=-1) / total
    square = (strata.m2[..., 0, 0] + count * mean**2).sum(axis=-1) / total
    share = np.divide(middle**2, square, out=np.zeros_like(middle), where=square > 0)
    smaller = np.where(counted, count.min(axis=-1), 0)
    events: Floats = (smaller * share).sum(axis=-1)
    return np.minimum(events, (smaller * (1 - middle)).sum(axis=-1)) if metric.kind == "proportion" else events


def _estimate(metric: Metric, design: Design, strata: Strata, score: Score, rate: float | None) -> Estimate:
    covariance = sequence.variance_of(score)
    variance = sequence.difference_variance(covariance)
    clock = sequence.clock(score, variance, design.planned_units, design.alpha, metric.sd)
    multiplier = sequence.multiplier(clock, design.alpha)
    effect = float(fixed_horizon.effect(score))
    half = float(multiplier * np.sqrt(variance) / score.weight)
    fixed_half = float(fixed_horizon.half_width(score, design.alpha))
    within = sequence.difference_variance(score.own)
    standing = Standing(float(score.contrast()), float(variance), float(clock), float(score.weight), float(score.size))
    baseline, candidate = (float(score.level[arm] / score.weight) for arm in (B, C))
    wanted = design.min_effect * abs(baseline) * (1 if metric.better == "higher" else -1)
    power, days = _forecast(standing, design, wanted, rate)
    lift = Lift.of(score, *ratio_interval(score.level, covariance, multiplier))
    fixed_lift = Lift.of(score, *fixed_horizon.ratio_interval_once(score, design.alpha))
    pooled_score = fixed_horizon.pooled_score(strata)
    pooled = Lift.of(pooled_score, *fixed_horizon.ratio_interval_once(pooled_score, design.alpha))
    margin = margin_of(metric, score, covariance, float(clock), float(multiplier))
    error = float(fixed_horizon.standard_error(score))
    return Estimate(
        baseline=baseline,
        candidate=candidate,
        effect=effect,
        interval=Interval(effect - half, effect + half),
        lift=lift.value,
        lift_interval=lift.interval,
        fixed=Interval(effect - fixed_half, effect + fixed_half),
        fixed_lift=fixed_lift.interval,
        p_fixed=float(2 * special.stdtr(score.freedom, -abs(effect) / error)),
        pooled_lift=pooled.value,
        pooled_lift_interval=None if pooled.value is None else pooled.interval,
        e_value=float(sequence.e_value(standing.score / math.sqrt(standing.variance), clock)),
        e_harm=margin.e_harm,
        within_margin=margin.lower,
        variance_reduction=float(1 - within / score.unadjusted) if metric.covariate and score.unadjusted > 0 else None,
        returning=float(sequence.difference_variance(score.cross) / within),
        standing=standing,
        power_left=power,
        days_left=days,
    )


def _forecast(
    standing: Standing, design: Design, effect: float, rate: float | None
) -> tuple[float | None, float | None]:
    if rate is None:
        return None, None
    days = days_until_known(standing, effect, design.power, design.alpha, rate)
    return power_left(standing, effect, design.planned_units, design.alpha), days
