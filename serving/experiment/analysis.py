"""From evidence to an analysis: each metric's effect with its intervals, the sample ratio, the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from serving.experiment import fixed_horizon, sequence
from serving.experiment.aggregate import Floats
from serving.experiment.counts import Counts
from serving.experiment.design import Design, Metric
from serving.experiment.evidence import ExperimentEvidence, MetricEvidence
from serving.experiment.forecast import Standing, days_until_known, power_left, rate_a_day
from serving.experiment.interval import Interval, ratio_interval
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
    lift: float
    """Candidate over baseline, less 1."""
    lift_interval: Interval
    """Always-valid, of the lift."""
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
    if events < design.min_events:
        return f"about {events:.1f} units with an outcome in the smaller arm, {design.min_events} are needed"
    if sequence.difference_variance(score.common) <= 0:
        return "all units have the same value"
    return ""


def expected_events(metric: Metric, strata: Strata, counted: NDArray[np.bool_]) -> Floats:
    """Units with an outcome that the smaller arm of each stratum would have if the arms were equal, [...].

    n (mean)^2 / mean square, which is n p for zeros and ones and fewer for skewed values (Kish's effective number); of
    a proportion near 1, the units without. Arms are taken together, so the rule does not look at the effect.
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
    lower, upper = ratio_interval(score.level, covariance, multiplier)
    fixed_lower, fixed_upper = fixed_horizon.lift_interval(score, design.alpha)
    within = sequence.difference_variance(score.own)
    standing = Standing(float(score.contrast()), float(variance), float(clock), float(score.weight), float(score.size))
    baseline, candidate = (float(score.level[arm] / score.weight) for arm in (B, C))
    power, days = _forecast(standing, design, design.min_effect * baseline, rate)
    pooled = _pooled(strata, design.alpha)
    error = float(fixed_horizon.standard_error(score))
    return Estimate(
        baseline=baseline,
        candidate=candidate,
        effect=effect,
        interval=Interval(effect - half, effect + half),
        lift=candidate / baseline - 1,
        lift_interval=Interval(float(lower) - 1, float(upper) - 1),
        fixed=Interval(effect - fixed_half, effect + fixed_half),
        fixed_lift=Interval(float(fixed_lower), float(fixed_upper)),
        p_fixed=float(2 * stats.t.sf(abs(effect) / error, score.freedom)),
        pooled_lift=pooled[0],
        pooled_lift_interval=pooled[1],
        e_value=float(sequence.e_value(standing.score / math.sqrt(standing.variance), clock)),
        e_harm=_e_harm(metric, score, covariance, float(clock)),
        variance_reduction=None if metric.covariate is None else float(1 - within / score.unadjusted),
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


def _e_harm(metric: Metric, score: Score, covariance: np.ndarray, clock: float) -> float:
    """Against the hypothesis that the candidate is not worse than the margin: the smallest e-value over it, which is
    that at the margin where the estimate is beyond it."""
    ratio = 1 - metric.margin if metric.better == "higher" else 1 + metric.margin
    contrast = float(score.contrast(ratio))
    worse = contrast < 0 if metric.better == "higher" else contrast > 0
    variance = covariance[C, C] - 2 * ratio * covariance[B, C] + ratio**2 * covariance[B, B]
    return float(sequence.e_value(contrast / math.sqrt(variance) if worse else 0.0, clock))


def _pooled(strata: Strata, alpha: float) -> tuple[float | None, Interval | None]:
    pooled = fixed_horizon.pooled_score(strata)
    if pooled.level[B] <= 0:
        return None, None
    lower, upper = fixed_horizon.lift_interval(pooled, alpha)
    return float(pooled.level[C] / pooled.level[B] - 1), Interval(float(lower), float(upper))
