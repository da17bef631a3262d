"""Analyses and verdicts: every kind with its words, and each rule's edge."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from serving.experiment.aggregate import Aggregate
from serving.experiment.analysis import Analysis, Estimate, MetricAnalysis, analyse
from serving.experiment.design import BASELINE, CANDIDATE, Metric
from serving.experiment.evidence import ExperimentEvidence, Exposed, MetricEvidence, Stratum
from serving.experiment.interval import Interval
from serving.experiment.verdict import verdict
from tests.serving.experiment.trials import CLICKS, METRICS, design, evidence, simulate

PRIMARY = Metric("ctr", "mean", "click")
GUARD = Metric("cvr", "mean", "buy", role="non_inferior", margin=0.02)
SPLIT = (Exposed(0, 0, 0.5, {BASELINE: 10_000, CANDIDATE: 10_000}),)


def _metric(metric: Metric, lift: float, units: int = 10_000, sd: float = 0.1, mean: float = 1.0) -> MetricEvidence:
    def arm(level: float) -> Aggregate:
        return Aggregate(("value",), units, np.array([level]), np.array([[sd**2 * units]]))

    arms = {BASELINE: arm(mean), CANDIDATE: arm(mean * (1 + lift))}
    return MetricEvidence(metric, (Stratum(0, 0, 0.5, arms),))


def _analysis(*metrics: MetricEvidence, exposed: tuple[Exposed, ...] = SPLIT, **changes: object) -> Analysis:
    of = design(metrics=tuple(one.metric for one in metrics), **changes)
    return analyse(ExperimentEvidence(of, 1.0, metrics, exposed))


def test_a_better_primary_metric_and_a_guard_that_holds_win() -> None:
    found = verdict(_analysis(_metric(PRIMARY, 0.02), _metric(GUARD, -0.005)))
    assert found.kind == "win"
    assert found.findings == {"ctr": "better", "cvr": "not inferior"}
    assert found.words == (
        "Win: ctr +2.00% (+1.57% to +2.43%); not inferior: cvr -0.50% (-0.93% to -0.07%, margin 2.00%)."
    )


def test_a_win_alone_names_itself() -> None:
    assert verdict(_analysis(_metric(PRIMARY, 0.02))).words == "Win: ctr +2.00% (+1.57% to +2.43%)."


def test_a_guard_that_is_still_open_holds_the_win_back() -> None:
    found = verdict(_analysis(_metric(PRIMARY, 0.02), _metric(GUARD, -0.018)))
    assert found.kind == "inconclusive"
    assert "but not yet shown: cvr" in found.words


def test_a_guard_beyond_its_margin_is_harm_though_the_primary_metric_wins() -> None:
    found = verdict(_analysis(_metric(PRIMARY, 0.02), _metric(GUARD, -0.05)))
    assert (found.kind, found.findings["cvr"]) == ("harm", "inferior")
    assert found.words.startswith("Harm: cvr -5.00%")


def test_a_worse_primary_metric_is_harm() -> None:
    found = verdict(_analysis(_metric(PRIMARY, -0.02)))
    assert (found.kind, found.findings["ctr"]) == ("harm", "worse")


def test_lower_is_better_where_the_metric_says_so() -> None:
    latency = Metric("hides", "mean", "hide", better="lower")
    guard = dataclasses.replace(GUARD, better="lower")
    assert verdict(_analysis(_metric(latency, -0.02))).kind == "win"
    assert verdict(_analysis(_metric(latency, 0.02))).kind == "harm"
    assert verdict(_analysis(_metric(PRIMARY, 0.02), _metric(guard, 0.005))).kind == "win"
    assert verdict(_analysis(_metric(PRIMARY, 0.02), _metric(guard, 0.05))).kind == "harm"


def test_a_metric_that_cannot_be_judged_yet_has_its_share_of_the_level() -> None:
    """Else harm that was told of the first metric that is ready would be taken back when the second is."""
    second = dataclasses.replace(PRIMARY, name="buys")
    waiting, ready = (_metric(second, 0.0, units=units) for units in (20, 10_000))
    for lift in np.linspace(-0.006, -0.003, 31):
        found, later = (verdict(_analysis(_metric(PRIMARY, lift), other)).kind for other in (waiting, ready))
        assert found == later
    alone = verdict(_analysis(_metric(PRIMARY, -0.0044)))
    assert alone.kind == "harm"
    assert verdict(_analysis(_metric(PRIMARY, -0.0044), waiting)).kind == "inconclusive"


def test_a_metric_around_zero_is_judged_where_the_design_says_from_when_on() -> None:
    net = Metric("net", "mean", "paid", min_events=0)
    arms = {arm: Aggregate(("value",), 10_000, np.array([mean]), np.array([[10_000.0]])) for arm, mean in _AROUND_ZERO}
    split = (Stratum(0, 0, 0.5, arms),)
    assert verdict(_analysis(MetricEvidence(net, split))).kind == "win"
    silent = dataclasses.replace(net, min_events=None)
    assert "about 0.0 units with an outcome" in verdict(_analysis(MetricEvidence(silent, split))).words


_AROUND_ZERO = ((BASELINE, -0.05), (CANDIDATE, 0.05))


def test_a_secondary_metric_decides_nothing() -> None:
    for lift, finding in ((-0.1, "worse"), (0.1, "better"), (0.0, "open")):
        found = verdict(_analysis(_metric(PRIMARY, 0.02), _metric(dataclasses.replace(GUARD, role="secondary"), lift)))
        assert (found.kind, found.findings["cvr"]) == ("win", finding)


def test_one_of_several_primary_metrics_wins_if_the_others_are_not_inferior() -> None:
    other = dataclasses.replace(PRIMARY, name="stay", margin=0.01)
    found = verdict(_analysis(_metric(PRIMARY, 0.02), _metric(other, 0.001)))
    assert found.kind == "win"
    assert found.findings == {"ctr": "better", "stay": "not inferior"}
    strict = verdict(_analysis(_metric(PRIMARY, 0.02), _metric(dataclasses.replace(other, margin=0.0), 0.001)))
    assert strict.kind == "inconclusive"


def test_a_small_gap_is_inconclusive_and_says_when_it_will_be_known() -> None:
    found = verdict(_analysis(_metric(PRIMARY, 0.001), min_effect=0.005))
    assert found.kind == "inconclusive"
    assert "would be known in about" in found.words
    never = verdict(_analysis(_metric(PRIMARY, 0.001), exposed=(), min_effect=0.005))
    assert "would not be found" in never.words


def test_a_broken_sample_ratio_is_invalid_whatever_the_metrics_say() -> None:
    broken = (Exposed(0, 0, 0.5, {BASELINE: 10_000, CANDIDATE: 8_000}),)
    found = verdict(_analysis(_metric(PRIMARY, 0.02), exposed=broken))
    assert found.kind == "invalid"
    assert "sample ratio p =" in found.words
    assert found.findings == {"ctr": "better"}


def test_too_many_units_in_both_arms_are_invalid_and_a_few_are_not() -> None:
    made = ExperimentEvidence(design(metrics=(PRIMARY,)), 1.0, (_metric(PRIMARY, 0.02),), SPLIT, crossovers=400)
    found = verdict(analyse(made))
    assert found.kind == "invalid"
    assert found.words == (
        "Invalid: 400 units (1.96%, limit 1.00%) were in both arms of a phase: users do not stay on their arm."
    )
    assert verdict(analyse(dataclasses.replace(made, crossovers=100))).kind == "win"
    young = (Exposed(0, 0, 0.5, {BASELINE: 100, CANDIDATE: 100}),)
    assert verdict(analyse(dataclasses.replace(made, exposed=young, crossovers=9))).kind == "win"


def test_users_who_come_back_more_often_are_told_with_the_verdict() -> None:
    def exposed(candidate: int) -> tuple[Exposed, ...]:
        units = {BASELINE: 500_000, CANDIDATE: 500_000}
        again = {BASELINE: 300_000, CANDIDATE: candidate}
        return Exposed(0, 0, 0.5, units, units), Exposed(1, 0, 0.5, again, {BASELINE: 0, CANDIDATE: 0})

    more = verdict(_analysis(_metric(PRIMARY, 0.02), exposed=exposed(306_000)))
    assert more.kind == "win"
    assert "Users of the candidate come back 2.00% more often (p = " in more.words
    assert "come back 2.00% less often" in verdict(_analysis(_metric(PRIMARY, 0.02), exposed=exposed(294_000))).words
    assert "come back" not in verdict(_analysis(_metric(PRIMARY, 0.02), exposed=exposed(300_100))).words


def test_an_arm_to_which_nobody_comes_back_is_told() -> None:
    nobody = {BASELINE: 0, CANDIDATE: 0}
    exposed = (*SPLIT, Exposed(1, 0, 0.5, {BASELINE: 0, CANDIDATE: 600}, nobody))
    told = verdict(_analysis(_metric(PRIMARY, 0.02), exposed=exposed)).words
    assert "While both arms are shown nobody of the baseline comes back (p = " in told


def test_a_metric_without_evidence_is_invalid() -> None:
    of = design(metrics=(PRIMARY, GUARD))
    found = verdict(analyse(ExperimentEvidence(of, 1.0, (_metric(PRIMARY, 0.02),), SPLIT)))
    assert (found.kind, found.words) == ("invalid", "Invalid: no evidence of cvr.")
    assert found.findings["cvr"] == "not ready"


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (_metric(PRIMARY, 0.0, units=20), "no stratum has 50 units in each arm"),
        (_metric(PRIMARY, 0.0, sd=0.0), "all units of an arm have the same value"),
        (_metric(PRIMARY, 0.0, sd=0.0, mean=0.0), "0.0 units with an outcome in the smaller arm, 10 are needed"),
        (_metric(PRIMARY, 0.0, sd=1e-100), "too large or too small to be computed with"),
        (_metric(PRIMARY, 0.0, sd=30.0), "11.1 units with an outcome"),
        (_metric(dataclasses.replace(PRIMARY, kind="proportion"), 0.0, mean=0.9999), "1.0 units with an outcome"),
    ],
)
def test_a_metric_that_cannot_be_judged_says_why(one: MetricEvidence, said: str) -> None:
    changes: dict[str, Any] = {"min_events": 12} if "11.1" in said else {}
    found = verdict(_analysis(one, **changes))
    assert found.kind == "inconclusive"
    assert said in found.words


def test_an_interval_and_its_e_value_say_the_same() -> None:
    for lift in np.linspace(-0.01, 0.01, 41):
        estimate = _analysis(_metric(PRIMARY, float(lift))).metrics[0].estimate
        assert estimate is not None
        outside = estimate.interval.lower > 0 or estimate.interval.upper < 0
        assert outside == (estimate.e_value >= 20)
        assert (estimate.lift_interval.lower > 0) == (estimate.interval.lower > 0)
        assert (estimate.e_harm >= 20) == (estimate.interval.upper < 0)


def test_harm_is_held_against_the_number_of_metrics() -> None:
    analysis = _analysis(*(_metric(dataclasses.replace(PRIMARY, name=name), 0.0) for name in "abcd"))
    first = analysis.metrics[0]
    assert first.estimate is not None

    def with_harm(e_harm: float) -> Analysis:
        assert first.estimate is not None
        harmed = dataclasses.replace(first, estimate=dataclasses.replace(first.estimate, e_harm=e_harm))
        return dataclasses.replace(analysis, metrics=(harmed, *analysis.metrics[1:]))

    assert verdict(with_harm(79.0)).kind == "inconclusive"
    assert verdict(with_harm(81.0)).kind == "harm"


def test_an_analysis_counts_what_counts() -> None:
    rows = simulate(users=3_000, lift=0.2)
    found = analyse(evidence(rows, design()))
    first = found.metrics[0]
    assert first.units[BASELINE] + first.units[CANDIDATE] <= len(rows.unit)
    assert first.strata + first.strata_waiting == 9
    assert first.immature == {BASELINE: 40, CANDIDATE: 38}
    assert found.missing == ()
    assert [one.metric for one in found.metrics] == list(METRICS)


def _estimate(one: MetricAnalysis) -> Estimate:
    assert one.estimate is not None
    return one.estimate


def test_a_covariate_narrows_and_returning_users_widen() -> None:
    rows = simulate(users=12_000, lift=0.1)
    found = _estimate(analyse(evidence(rows, design())).metrics[0])
    assert found.variance_reduction is not None
    assert found.variance_reduction > 0.15
    assert found.returning > 0.05
    plain = dataclasses.replace(CLICKS, covariate=None)
    without = dataclasses.replace(rows, columns={CLICKS.name: rows.columns[CLICKS.name][:, :2]})
    wider = _estimate(analyse(evidence(without, design(metrics=(plain,)))).metrics[0])
    assert _width(found.lift_interval) < _width(wider.lift_interval)
    assert _width(found.fixed_lift) < _width(found.lift_interval)


def _width(interval: Interval) -> float:
    return interval.upper - interval.lower


def test_without_a_pooled_level_there_is_no_pooled_lift() -> None:
    level = Aggregate(("value",), 1_000, np.array([1.0]), np.array([[40.0]]))
    below = Aggregate(("value",), 5_000, np.array([-1.0]), np.array([[40.0]]))
    strata = (Stratum(0, 0, 0.5, {BASELINE: level, CANDIDATE: level}), Stratum(0, 1, 0.5, {BASELINE: below}))
    found = _estimate(_analysis(MetricEvidence(PRIMARY, strata)).metrics[0])
    assert (found.pooled_lift, found.pooled_lift_interval) == (None, None)
