"""From a spec to a design and from an analysis to readings, over real statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.evidence.registration_door import check_design
from serving.experiment.aggregate import Aggregate
from serving.experiment.analysis import Analysis, analyse
from serving.experiment.design import Design
from serving.experiment.evidence import ExperimentEvidence, Exposed, MetricEvidence, Stratum
from serving.rollout.decide import decide
from serving.rollout.facts import Clock, RouterFacts
from serving.rollout.judgement import design_of, readings_of, units_of
from serving.rollout.state import Alarm, Run, State, run_id
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, START, World, spec_with

RUN = Run(id=run_id(BASELINE, CANDIDATE, 1), baseline=BASELINE, candidate=CANDIDATE, attempt=1, started_at=START)
STATE = State(phase="Ramping", run=RUN, step=2, weight=50, stratum=4, confirmed_at=START, entered_at=START)
SPEC = spec_with()


def evidence(
    lift: float, units: tuple[int, int] = (20_000, 20_000), known: bool = True, level: float = 1.0
) -> ExperimentEvidence:
    """Two metrics around `level` for as many units; the candidate's are higher by `lift`."""
    design = design_of(SPEC, RUN, "feed.01234567")
    random = np.random.default_rng(7)

    def arms(metric: int) -> dict[str, Aggregate]:
        columns = design.metrics[metric].columns
        return {
            arm: Aggregate.of(columns, random.normal(mean, 0.5, size=(count, 1)))
            for arm, mean, count in (("baseline", level, units[0]), ("candidate", level + lift, units[1]))
        }

    metrics = tuple(
        MetricEvidence(metric, (Stratum(4, 0, 0.5, arms(place)),))  # type: ignore[arg-type]
        for place, metric in enumerate(design.metrics[: 2 if known else 1])
    )
    counts = {"baseline": units[0], "candidate": units[1]}
    exposed = (Exposed(4, 0, 0.5, counts, counts), Exposed(3, 0, 0.2, {"baseline": 8, "candidate": 2}))  # type: ignore[arg-type]
    return ExperimentEvidence(design, START + 500, metrics, exposed)


def analysed(found: ExperimentEvidence) -> Analysis:
    return analyse(found)


def test_a_design_has_what_the_spec_says() -> None:
    design = design_of(SPEC, RUN, "feed.01234567")
    assert isinstance(design, Design)
    assert design.run == ("feed.01234567.1", BASELINE, CANDIDATE)
    assert design.salt == "feed.01234567"
    assert [metric.role for metric in design.metrics] == ["primary", "non_inferior"]
    assert design.metrics[1].margin == 0.02


NUMBERS = {
    "burnInUnits": st.integers(2, 1_000_000),
    "minEvents": st.integers(1, 1_000_000),
    "plannedUnits": st.integers(10, 1_000_000_000),
    "minEffect": st.floats(1e-9, 9.99),
    "sliceSeconds": st.integers(60, 604_800),
    "sampleRatioAlpha": st.floats(1e-15, 0.05),
    "alpha": st.floats(1e-9, 0.2),
}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=63)
METRIC = st.fixed_dictionaries(
    {"value": TEXT.filter(lambda text: text != "exposures")},
    optional={
        "cap": st.floats(1e-6, 1e12),
        "covariate": TEXT,
        "standardDeviation": st.floats(1e-9, 1e15),
        "maturitySeconds": st.integers(0, 7_776_000),
        "better": st.sampled_from(["Higher", "Lower"]),
    },
)


@given(analysis=st.fixed_dictionaries({}, optional=NUMBERS), metric=METRIC)
def test_what_the_resource_takes_the_evidence_takes(analysis: dict[str, Any], metric: dict[str, Any]) -> None:
    """Otherwise the API server would accept a rollout that can never begin."""
    spec = spec_with(analysis=analysis, metrics=[{**metric, "name": "m", "role": "Primary"}])
    check_design(design_of(spec, RUN, "feed.01234567"))


def test_another_attempt_is_another_experiment_with_the_same_assignment() -> None:
    again = design_of(
        SPEC, RUN.model_copy(update={"id": run_id(BASELINE, CANDIDATE, 2), "attempt": 2}), "feed.01234567"
    )
    first = design_of(SPEC, RUN, "feed.01234567")
    assert again.experiment != first.experiment
    assert again.salt == first.salt


@pytest.mark.parametrize(("lift", "verdict"), [(0.05, "win"), (-0.05, "harm"), (0.0, "inconclusive")])
def test_the_verdict_comes_with_its_intervals_and_words(lift: float, verdict: str) -> None:
    found = evidence(lift)
    readings = readings_of(analysed(found), found.exposed, STATE)
    assert readings.verdict == verdict
    clicks = readings.metric("clicks")
    assert clicks is not None
    assert clicks.low < clicks.high
    assert clicks.estimate == pytest.approx(lift, abs=0.02)
    assert (readings.baseline_units, readings.candidate_units) == (20_000, 20_000)
    assert "clicks" in readings.words


def test_units_are_those_of_the_present_weight() -> None:
    assert units_of(evidence(0.0).exposed, 3) == (8, 2)
    assert units_of(evidence(0.0).exposed, 9) == (0, 0)


def test_too_few_units_leave_the_interval_open_and_are_no_fault() -> None:
    found = evidence(0.0, units=(20, 20))
    readings = readings_of(analysed(found), found.exposed, STATE)
    clicks = readings.metric("clicks")
    assert clicks is not None
    assert (clicks.estimate, clicks.low, clicks.high) == (None, -np.inf, np.inf)
    assert readings.verdict == "inconclusive"


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(("lift", "won"), [(0.05, True), (0.0, False), (-0.05, False)])
def test_a_win_is_promoted_whatever_the_sign_of_the_baseline(level: float, lift: float, won: bool) -> None:
    """A profit may be negative; then there is no lift, and the proof is in the metric's own units."""
    found = evidence(lift, level=level)
    world = World(state=STATE.to_json(), now=START + 500, router=RouterFacts(50, 4, RUN.id, "self"))
    readings = replace(readings_of(analysed(found), found.exposed, STATE), guardrails=world.readings().guardrails)
    clicks = readings.metric("clicks")
    assert clicks is not None
    assert (clicks.estimate is None) == (level <= 0)
    assert (clicks.proof > 0) is won
    made = decide(SPEC, STATE, readings, world.facts(), Clock(START + 500))
    assert (made.state.reason == "Proven") is won


def test_a_metric_without_evidence_is_missing_and_blinds_the_rollout() -> None:
    found = evidence(0.05, known=False)
    readings = readings_of(analysed(found), found.exposed, STATE)
    assert readings.metric("gmv") is None
    world = World(state=STATE.to_json(), now=START + 500)
    made = decide(SPEC, STATE, readings, world.facts(), Clock(START + 500))
    assert "metric gmv is missing" in (made.hold or "")


def test_a_broken_split_makes_the_verdict_invalid_until_a_person_acknowledges_it() -> None:
    found = evidence(0.05, units=(20_000, 18_500))
    analysis = analysed(found)
    p_value = analysis.sample_ratio.p_value
    assert p_value < 1e-3
    assert readings_of(analysis, found.exposed, STATE).verdict == "invalid"
    alarm = Alarm(id="a", p_value=p_value, raised_at=START)
    waiting = STATE.model_copy(update={"alarm": alarm})
    assert readings_of(analysis, found.exposed, waiting).verdict == "invalid"
    accepted = STATE.model_copy(update={"alarm": alarm.model_copy(update={"acknowledged": True})})
    assert readings_of(analysis, found.exposed, accepted).verdict == "win"
    long_ago = alarm.model_copy(update={"acknowledged": True, "p_value": min(1.0, p_value * 1e4)})
    assert readings_of(analysis, found.exposed, STATE.model_copy(update={"alarm": long_ago})).verdict == "invalid"
