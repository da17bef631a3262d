"""Levels at 0 and below, margins relative to them, lifts far from 0, forecasts of metrics that are better lower."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.experiment.aggregate import Aggregate
from serving.experiment.analysis import Analysis, Estimate, analyse
from serving.experiment.design import BASELINE, CANDIDATE, Better, Kind, Metric, Role
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence, Exposed, MetricEvidence, Stratum
from serving.experiment.page import page
from serving.experiment.report import report_json, report_of
from serving.experiment.verdict import verdict
from tests.serving.experiment.trials import design

CTR = Metric("ctr", "mean", "click")
UNITS = 10_000
SPLIT = (Exposed(0, 0, 0.5, {BASELINE: UNITS, CANDIDATE: UNITS}),)


def _metric(metric: Metric, baseline: float, candidate: float, sd: float = 0.1, units: int = UNITS) -> MetricEvidence:
    def arm(level: float) -> Aggregate:
        return Aggregate(("value",), units, np.array([level]), np.array([[sd**2 * units]]))

    return MetricEvidence(metric, (Stratum(0, 0, 0.5, {BASELINE: arm(baseline), CANDIDATE: arm(candidate)}),))


def _bought(metric: Metric, units: int, baseline: int, candidate: int) -> MetricEvidence:
    def arm(buyers: int) -> Aggregate:
        return Aggregate(("value",), units, np.array([buyers / units]), np.array([[buyers * (1 - buyers / units)]]))

    return MetricEvidence(metric, (Stratum(0, 0, 0.5, {BASELINE: arm(baseline), CANDIDATE: arm(candidate)}),))


def _evidence(*metrics: MetricEvidence, **changes: object) -> ExperimentEvidence:
    return ExperimentEvidence(design(metrics=tuple(one.metric for one in metrics), **changes), 1.0, metrics, SPLIT)


def _analysis(*metrics: MetricEvidence, **changes: object) -> Analysis:
    return analyse(_evidence(*metrics, **changes))


def _estimate(analysis: Analysis, place: int = 0) -> Estimate:
    found = analysis.metrics[place].estimate
    assert found is not None
    return found


def test_a_baseline_without_an_outcome_has_no_lift_and_the_candidate_may_win() -> None:
    buy = Metric("buy", "proportion", "buy")
    found = _analysis(_bought(buy, UNITS, 0, 100))
    assert _estimate(found).lift is None
    said = verdict(found)
    assert said.kind == "win"
    assert said.words.startswith("Win: buy +0.01 (+0.00")
    assert said.words.endswith("from 0 to 0.01.")
    assert "inf" not in said.words


def test_what_has_no_lift_is_reported_in_its_own_units() -> None:
    report = report_of(EvidenceSeries((_evidence(_metric(CTR, -1.0, -0.5)),)))
    assert report_json(report)["looks"][0]["metrics"][0]["estimate"]["lift"] is None
    text = page(report)
    assert "+0.5" in text
    assert "not above 0" in text
    assert "inf to" not in text


@pytest.mark.parametrize(
    ("better", "role", "baseline", "candidate", "kind"),
    [
        ("higher", "non_inferior", -1.0, -1.0, "win"),
        ("higher", "non_inferior", -1.0, -0.5, "win"),
        ("higher", "non_inferior", -1.0, -1.2, "harm"),
        ("higher", "non_inferior", 1.0, 0.95, "win"),
        ("higher", "non_inferior", 1.0, 0.8, "harm"),
        ("lower", "non_inferior", -1.0, -1.0, "win"),
        ("lower", "non_inferior", -1.0, -1.5, "win"),
        ("lower", "non_inferior", -1.0, -0.8, "harm"),
        ("lower", "non_inferior", 1.0, 1.05, "win"),
        ("lower", "non_inferior", 1.0, 1.2, "harm"),
        ("higher", "non_inferior", 0.0, 0.0, "inconclusive"),
        ("higher", "primary", -1.0, -0.5, "win"),
        ("higher", "primary", -1.0, -1.5, "harm"),
        ("lower", "primary", -1.0, -1.5, "win"),
        ("lower", "primary", -1.0, -0.5, "harm"),
    ],
)
def test_a_margin_is_a_share_of_the_baselines_size(
    better: Better, role: Role, baseline: float, candidate: float, kind: str
) -> None:
    one = Metric("net", "mean", "net", better=better, role=role, margin=0.1, maturity_s=0)
    found = verdict(_analysis(_metric(CTR, 1.0, 1.02), _metric(one, baseline, candidate), min_events=1))
    assert found.kind == kind


def test_a_level_that_is_not_told_from_zero_bounds_no_lift_but_may_bound_the_margin() -> None:
    one = Metric("net", "mean", "net", margin=0.1)
    found = _analysis(_metric(one, 0.001, 0.05, sd=0.2), min_events=1)
    estimate = _estimate(found)
    assert (estimate.lift_interval.lower, estimate.lift_interval.upper) == (-math.inf, math.inf)
    assert estimate.within_margin > 0
    assert "inf" not in verdict(found).words


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(0, 0.5), st.sampled_from(["higher", "lower"]))
@settings(deadline=None)
def test_turning_the_sign_of_values_and_of_better_changes_no_finding(
    baseline: float, candidate: float, margin: float, better: Better
) -> None:
    other: Better = "lower" if better == "higher" else "higher"
    one = Metric("net", "mean", "net", margin=margin, better=better)
    found = _analysis(_metric(one, baseline, candidate), min_events=1)
    turned = _analysis(_metric(dataclasses.replace(one, better=other), -baseline, -candidate), min_events=1)
    assert verdict(found).findings == verdict(turned).findings
    if found.metrics[0].estimate is not None:
        assert _estimate(found).e_harm == pytest.approx(_estimate(turned).e_harm)
        assert _estimate(found).within_margin == pytest.approx(_estimate(turned).within_margin)
        assert not (_estimate(found).within_margin > 0 and _estimate(found).e_harm >= 20)


@given(st.floats(0.5, 2), st.floats(0.5, 2), st.floats(0, 0.5))
@settings(deadline=None)
def test_of_a_positive_baseline_the_margin_is_that_of_the_lift_interval(
    baseline: float, candidate: float, margin: float
) -> None:
    estimate = _estimate(_analysis(_metric(dataclasses.replace(CTR, margin=margin), baseline, candidate)))
    assert (estimate.within_margin > 0) == (estimate.lift_interval.lower > -margin)


def test_a_baseline_that_is_as_good_as_zero_has_no_lift() -> None:
    estimate = _estimate(_analysis(_metric(CTR, 1e-12, 0.5), min_events=1))
    assert estimate.lift is None


def test_a_candidate_without_an_event_leaves_the_lift_its_width() -> None:
    estimate = _estimate(_analysis(_bought(Metric("buy", "proportion", "buy"), 2_000, 40, 0)))
    assert estimate.lift == -1
    for interval in (estimate.lift_interval, estimate.fixed_lift, estimate.pooled_lift_interval):
        assert interval is not None
        assert interval.upper - interval.lower > 0.2


def test_an_interval_covers_a_large_loss() -> None:
    """2,000 units an arm, one percent of which buy, 95 % fewer with the candidate: single looks."""
    rng = np.random.default_rng(0)
    buy = Metric("buy", "proportion", "buy")
    misses, looks = 0, 0
    for _ in range(300):
        bought = rng.binomial(2_000, 0.01), rng.binomial(2_000, 0.0005)
        found = _analysis(_bought(buy, 2_000, int(bought[0]), int(bought[1]))).metrics[0].estimate
        if found is not None:
            looks += 1
            misses += not found.lift_interval.lower <= -0.95 <= found.lift_interval.upper
    assert looks > 100
    assert misses <= 0.05 * looks


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_forecast_looks_for_an_effect_in_the_metrics_good_direction(better: Better) -> None:
    toward = 1 if better == "higher" else -1
    metric = dataclasses.replace(CTR, better=better)
    powers = [
        _estimate(_analysis(_metric(metric, 1.0, 1 + sign * toward * 0.0035), min_effect=0.01, planned_units=24_000))
        for sign in (1, -1)
    ]
    assert powers[0].power_left is not None
    assert powers[1].power_left is not None
    assert powers[0].power_left > powers[1].power_left + 0.2


_LEVEL = st.one_of(st.just(0.0), st.floats(-1e6, 1e6), st.floats(-1e30, 1e30), st.floats(-1e-20, 1e-20))
_SQUARE = st.one_of(st.just(0.0), st.floats(0, 1e6), st.floats(0, 1e30), st.floats(0, 1e-30))


@st.composite
def _cells(draw: st.DrawFn, metric: Metric) -> Aggregate:
    width = len(metric.columns)
    level = np.array([draw(_LEVEL) for _ in range(width)])
    if metric.kind == "proportion":
        level[0] = np.clip(level[0], 0.0, 1.0)
    root = np.array([math.sqrt(draw(_SQUARE)) for _ in range(width)])
    turn = draw(st.sampled_from([0.0, 0.5, -0.9, 1.0]))
    m2 = np.outer(root, root) * (np.eye(width) + turn * (1 - np.eye(width)))
    return Aggregate(metric.columns, draw(st.sampled_from([0, 2, 50, 10**6, 10**15])), level, m2)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_whatever_the_cells_hold_there_is_a_verdict_without_nan(data: st.DataObject) -> None:
    kinds: tuple[Kind, ...] = ("mean", "ratio", "proportion")
    kind = data.draw(st.sampled_from(kinds))
    metric = Metric(
        "m",
        kind,
        "m",
        denominator="exposures" if kind == "ratio" else None,
        covariate=data.draw(st.sampled_from([None, "before"])),
        margin=data.draw(st.sampled_from([0.0, 0.1])),
        better=data.draw(st.sampled_from(["higher", "lower"])),
        sd=data.draw(st.sampled_from([None, 1e-9, 1.0, 1e15])),
    )
    strata = tuple(
        Stratum(0, place, 0.5, {BASELINE: data.draw(_cells(metric)), CANDIDATE: data.draw(_cells(metric))})
        for place in range(data.draw(st.integers(1, 2)))
    )
    with np.errstate(all="ignore"):
        series = EvidenceSeries((_evidence(MetricEvidence(metric, strata), min_events=1, burn_in=2),))
        report = report_of(series)
    assert "nan" not in report.verdict.words.replace("inconclusive", "")
    page(report)
    estimate = report.last.metrics[0].estimate
    if estimate is not None:
        told = (estimate.effect, estimate.e_value, estimate.e_harm, estimate.within_margin, estimate.interval.lower)
        assert not any(math.isnan(one) for one in told)
