"""The stratified comparison: equal to tea-tasting and scipy where they overlap, to brute force where they do not."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import tea_tasting as tt  # type: ignore[import-untyped]
from scipy import stats
from tea_tasting.aggr import Aggregates  # type: ignore[import-untyped]

from serving.experiment import fixed_horizon, sequence
from serving.experiment.aggregate import Aggregate, Floats
from serving.experiment.design import BASELINE, CANDIDATE, Metric
from serving.experiment.evidence import MetricEvidence, Stratum
from serving.experiment.strata import Strata, strata_of
from serving.experiment.stratified import B, C, Score, stratified_score
from tests.serving.experiment.trials import BUYERS, CLICKS, METRICS, STAY, Rows, design, evidence, simulate

EXACT = 1e-9


def _one_stratum(metric: Metric, baseline: Floats, candidate: Floats) -> Score:
    arms = {BASELINE: Aggregate.of(metric.columns, baseline), CANDIDATE: Aggregate.of(metric.columns, candidate)}
    strata = strata_of(MetricEvidence(metric, (Stratum(0, 0, 0.5, arms),)))
    return stratified_score(strata, strata.counted(2))


def _arms(metric: Metric, seed: int = 1) -> tuple[Floats, Floats]:
    rows = simulate(weights=(0.3,), lift=0.1, seed=seed)
    values = rows.columns[metric.name]
    return values[~rows.candidate], values[rows.candidate]


def _tea(rows: Floats) -> Aggregates:
    names = ["value", "denominator", "covariate"][: rows.shape[1]]
    covariance = np.atleast_2d(np.cov(rows.T))
    return Aggregates(
        count_=len(rows),
        mean_=dict(zip(names, rows.mean(axis=0), strict=True)),
        var_={name: covariance[at, at] for at, name in enumerate(names)},
        cov_={
            tuple(sorted((one, other))): covariance[i, j]
            for i, one in enumerate(names)
            for j, other in enumerate(names)
            if i < j
        },
    )


def _agrees(score: Score, expected: tt.metrics.mean.MeanResult) -> None:
    effect = fixed_horizon.effect(score)
    half = fixed_horizon.half_width(score, 0.05)
    assert effect == pytest.approx(expected.effect_size, rel=EXACT)
    assert effect - half == pytest.approx(expected.effect_size_ci_lower, rel=EXACT)
    assert effect + half == pytest.approx(expected.effect_size_ci_upper, rel=EXACT)
    p_value = 2 * stats.t.sf(abs(effect / fixed_horizon.standard_error(score)), score.freedom)
    assert p_value == pytest.approx(
        expected.pvalue, rel=1e-7
    )  # a tail: its relative error is the statistic's, times 20


def test_a_mean_agrees_with_tea_tasting_and_scipy() -> None:
    baseline, candidate = _arms(STAY)
    score = _one_stratum(STAY, baseline, candidate)
    _agrees(score, tt.Mean("value").analyze_aggregates(_tea(baseline), _tea(candidate)))
    welch = stats.ttest_ind(candidate[:, 0], baseline[:, 0], equal_var=False)
    assert score.freedom == pytest.approx(welch.df, rel=EXACT)
    interval = welch.confidence_interval(0.95)
    half = fixed_horizon.half_width(score, 0.05)
    assert fixed_horizon.effect(score) + half == pytest.approx(interval.high, rel=EXACT)


def test_a_proportion_agrees_with_tea_tasting() -> None:
    baseline, candidate = _arms(BUYERS)
    expected = tt.Mean("value").analyze_aggregates(_tea(baseline), _tea(candidate))
    _agrees(_one_stratum(BUYERS, baseline, candidate), expected)


def test_a_ratio_agrees_with_tea_tasting() -> None:
    metric = dataclasses.replace(CLICKS, covariate=None)
    baseline, candidate = (rows[:, :2] for rows in _arms(CLICKS))
    expected = tt.RatioOfMeans("value", "denominator").analyze_aggregates(_tea(baseline), _tea(candidate))
    _agrees(_one_stratum(metric, baseline, candidate), expected)


def test_cuped_agrees_with_tea_tasting_for_means_and_ratios() -> None:
    baseline, candidate = _arms(CLICKS)
    expected = tt.RatioOfMeans("value", "denominator", "covariate").analyze_aggregates(_tea(baseline), _tea(candidate))
    _agrees(_one_stratum(CLICKS, baseline, candidate), expected)
    mean = Metric("clicks", "mean", "click", covariate="clicks before")
    expected = tt.Mean("value", "covariate").analyze_aggregates(_tea(baseline), _tea(candidate))
    _agrees(_one_stratum(mean, baseline[:, [0, 2]], candidate[:, [0, 2]]), expected)


def test_a_covariate_that_does_not_vary_changes_nothing() -> None:
    baseline, candidate = _arms(STAY)
    plain = _one_stratum(STAY, baseline, candidate)
    metric = dataclasses.replace(STAY, covariate="constant")
    with_it = _one_stratum(metric, *(np.column_stack([rows, np.ones(len(rows))]) for rows in (baseline, candidate)))
    assert with_it.coefficient == 0
    np.testing.assert_allclose(with_it.level, plain.level)
    np.testing.assert_allclose(with_it.own, plain.own)


def test_a_covariate_takes_out_the_share_that_its_correlation_explains() -> None:
    rng = np.random.default_rng(4)
    covariate = rng.normal(5, 1, 40_000)
    value = 3 + 0.8 * covariate + 0.6 * rng.normal(size=40_000)
    rows = np.column_stack([value, covariate])
    score = _one_stratum(Metric("m", "mean", "m", covariate="c"), rows[:20_000], rows[20_000:])
    assert 1 - sequence.difference_variance(score.own) / score.unadjusted == pytest.approx(0.64, abs=0.02)


def _brute_force(rows: Rows, metric: Metric) -> tuple[float, float]:
    """U_C - U_B and its variance with users as clusters, from rows, for a metric without a covariate."""
    values = rows.columns[metric.name]
    contribution = np.zeros(rows.unit.max() + 1)
    within, score = 0.0, 0.0
    for key in {(int(p), int(s)) for p, s in zip(rows.phase, rows.slice, strict=True)}:
        here = (rows.phase == key[0]) & (rows.slice == key[1])
        arms = [here & (rows.candidate == arm) for arm in (False, True)]
        totals = [values[arm, 1].sum() for arm in arms]
        weight = totals[0] * totals[1] / sum(totals)
        for arm, total, sign in zip(arms, totals, (-1, 1), strict=True):
            count = arm.sum()
            ratio = values[arm, 0].sum() / total
            score += sign * weight * ratio
            residual = sign * weight * (values[arm, 0] - ratio * values[arm, 1]) / total
            within += (residual**2).sum() * (count / (count - 1) - 1)
            np.add.at(contribution, rows.unit[arm], residual)
    return score, float((contribution**2).sum() + within)


def test_the_variance_follows_users_through_phases_as_clusters_do() -> None:
    metric = dataclasses.replace(CLICKS, covariate=None)
    rows = simulate(users=3_000, weights=(0.2, 0.5, 0.35), seed=2)
    rows = dataclasses.replace(rows, columns={CLICKS.name: rows.columns[CLICKS.name][:, :2]})
    strata = strata_of(evidence(rows, design(metrics=(metric,))).metrics[0])
    score = stratified_score(strata, strata.counted(2))
    expected, variance = _brute_force(rows, metric)
    assert score.contrast() == pytest.approx(expected, rel=EXACT)
    assert sequence.difference_variance(score.own + score.cross) == pytest.approx(variance, rel=EXACT)
    assert sequence.difference_variance(score.cross) > 0.1 * sequence.difference_variance(score.own)


def test_the_covariance_of_the_arms_scores_is_that_of_users_who_moved() -> None:
    rows = simulate(users=3_000, weights=(0.2, 0.5), seed=5)
    strata = strata_of(evidence(rows, design()).metrics[2])
    score = stratified_score(strata, strata.counted(2))
    np.testing.assert_allclose(score.cross, score.cross.T)
    assert score.cross[B, C] != 0
    assert (np.diagonal(score.cross) > 0).all()


def test_a_score_is_centred_when_labels_are_shuffled_within_strata() -> None:
    rows = simulate(users=2_000, weights=(0.1, 0.5), drift=0.2, seed=7)
    rng = np.random.default_rng(8)
    found = []
    alone = design(metrics=(dataclasses.replace(STAY, role="primary"),))
    for _ in range(100):
        candidate = rows.candidate.copy()
        for key in np.unique(rows.slice):
            candidate[rows.slice == key] = rng.permutation(candidate[rows.slice == key])
        strata = strata_of(evidence(dataclasses.replace(rows, candidate=candidate), alone).metrics[0])
        score = stratified_score(strata, strata.counted(2))
        found.append(float(score.contrast() / np.sqrt(sequence.difference_variance(score.own))))
    assert abs(np.mean(found)) < 4 / np.sqrt(100)
    assert np.std(found) == pytest.approx(1, abs=0.3)


def test_slicing_further_does_not_move_an_estimate_without_drift_by_more_than_noise() -> None:
    rows = simulate(weights=(0.5,), days=8, drift=0.0, lift=0.1, seed=9)
    estimates = []
    for slices in (1, 2, 4, 8):
        merged = dataclasses.replace(rows, slice=rows.slice * slices // 8)
        strata = strata_of(evidence(merged, design()).metrics[0])
        score = stratified_score(strata, strata.counted(50))
        estimates.append((float(fixed_horizon.effect(score)), float(fixed_horizon.standard_error(score))))
    for (one, error), (other, _) in pairwise(estimates):
        assert abs(one - other) < error


def test_a_stratum_in_burn_in_or_without_a_denominator_does_not_count() -> None:
    metric = dataclasses.replace(CLICKS, covariate=None)
    full = Aggregate.of(metric.columns, np.column_stack([np.arange(60.0) % 3, np.full(60, 2.0)]))
    few = Aggregate.of(metric.columns, np.ones((5, 2)))
    zero = Aggregate.of(metric.columns, np.zeros((60, 2)))
    pairs = ((full, full), (full, few), (full, zero))
    strata = tuple(Stratum(0, at, 0.5, {BASELINE: b, CANDIDATE: c}) for at, (b, c) in enumerate(pairs))
    alone = Stratum(0, 3, 0.5, {BASELINE: full})
    found = strata_of(MetricEvidence(metric, (*strata, alone)))
    np.testing.assert_array_equal(found.counted(50), [True, False, False, False])
    score = stratified_score(found, found.counted(50))
    assert np.isfinite(score.level).all()
    assert score.size == 30


def test_shared_units_of_strata_that_do_not_count_or_are_unknown_add_nothing() -> None:
    rows = simulate(users=400, weights=(0.02, 0.5), days=1, seed=3)
    made = evidence(rows, design()).metrics[2]
    strata = strata_of(made)
    score = stratified_score(strata, strata.counted(50))
    np.testing.assert_array_equal(score.cross, 0)
    later = dataclasses.replace(made, strata=made.strata[1:])
    assert strata_of(later).shared is None


def test_leading_dimensions_are_runs() -> None:
    seeds = (1, 2, 3)
    single = [strata_of(evidence(simulate(users=800, seed=s), design()).metrics[2]) for s in seeds]
    count, mean, m2 = (np.stack([getattr(one, name) for one in single]) for name in ("count", "mean", "m2"))
    stacked = Strata(single[0].columns, count, mean, m2)
    together = stratified_score(stacked, stacked.counted(10))
    for at, one in enumerate(single):
        alone = stratified_score(dataclasses.replace(one, shared=None), one.counted(10))
        for field in dataclasses.fields(Score):
            np.testing.assert_allclose(getattr(together, field.name)[at], getattr(alone, field.name))


def test_pooling_mixes_a_drift_into_the_effect_and_strata_do_not() -> None:
    rows = simulate(users=20_000, drift=0.1, seed=11)
    strata = strata_of(evidence(rows, design()).metrics[2])
    pooled = fixed_horizon.pooled_score(strata)
    stratified = stratified_score(strata, strata.counted(50))
    error = float(fixed_horizon.standard_error(stratified))
    assert float(fixed_horizon.effect(pooled)) > 8 * error
    assert abs(float(fixed_horizon.effect(stratified))) < 3 * error
    lower, upper = fixed_horizon.ratio_interval_once(stratified, 0.05)
    assert lower < 1 < upper


@pytest.mark.parametrize("metric", METRICS)
def test_pooling_one_stratum_changes_nothing(metric: Metric) -> None:
    rows = simulate(weights=(0.5,), days=1)
    strata = strata_of(evidence(rows, design()).metrics[METRICS.index(metric)])
    pooled, alone = fixed_horizon.pooled_score(strata), stratified_score(strata, strata.counted(2))
    np.testing.assert_allclose(pooled.level, alone.level)
    np.testing.assert_allclose(pooled.own, alone.own)
