from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.evaluation.comparison import Comparison
from model.registry.gate import Gate, GateRefused, check, refuse_if_broken

MakeComparison = Callable[..., Comparison]


def test_a_better_candidate_passes(make_comparison: MakeComparison) -> None:
    assert check(make_comparison(), Gate()) == []


def test_a_lift_whose_interval_holds_zero_is_refused_with_its_numbers(make_comparison: MakeComparison) -> None:
    assert check(make_comparison(auc_mean=(0.70, 0.72, -0.01)), Gate()) == [
        "mean AUC lift +0.0200 has its 95% interval [-0.0100, +0.0500] start at or below +0.0000"
    ]


def test_a_lift_that_starts_exactly_at_the_threshold_is_refused(make_comparison: MakeComparison) -> None:
    comparison = make_comparison(auc_mean=(0.70, 0.72, 0.01))
    assert len(check(comparison, Gate(min_mean_auc_lift=0.01))) == 1
    assert check(comparison, Gate(min_mean_auc_lift=0.0099)) == []


def test_a_negative_threshold_lets_an_equal_candidate_pass(make_comparison: MakeComparison) -> None:
    assert check(make_comparison(auc_mean=(0.70, 0.70, -0.01)), Gate(min_mean_auc_lift=-0.02)) == []


def test_a_task_that_falls_is_refused_whatever_the_mean_gains(make_comparison: MakeComparison) -> None:
    assert check(make_comparison(auc_like=(0.70, 0.69, -0.02)), Gate()) == [
        "AUC of like falls by 0.0100 (0.7000 to 0.6900), more than 0.0050"
    ]


def test_a_candidate_whose_scores_are_no_probabilities_is_refused(make_comparison: MakeComparison) -> None:
    comparison = make_comparison(ece_click=(0.02, 0.08, 0.05))
    assert check(comparison, Gate()) == ["expected calibration error of click is 0.0800, above 0.0500"]
    assert check(comparison, Gate(max_ece=None)) == []


def test_all_broken_rules_are_told_at_once(make_comparison: MakeComparison) -> None:
    worse = make_comparison(auc_mean=(0.7, 0.6, -0.2), auc_click=(0.7, 0.6, -0.2), ece_like=(0.1, 0.2, 0.0))
    assert len(check(worse, Gate(required_tasks=("buy",)))) == 4


def test_a_mean_without_an_interval_is_refused(make_comparison: MakeComparison) -> None:
    expected = ["mean AUC has no interval, so its lift is not shown"]
    assert check(make_comparison(auc_mean=(None, None, None)), Gate()) == expected
    assert check(make_comparison(auc_mean=(0.7, 0.8, None)), Gate()) == expected


def test_a_required_task_must_be_there_and_have_an_auc(make_comparison: MakeComparison) -> None:
    undefined = make_comparison(auc_like=(None, None, None))
    assert check(undefined, Gate()) == []
    assert check(undefined, Gate(required_tasks=("like", "buy"))) == [
        "task 'like' is required, and its AUC is undefined on the test slice",
        "task 'buy' is required, and the comparison holds only click, like",
    ]


def test_a_refusal_is_one_line_with_an_exit_code_of_its_own(make_comparison: MakeComparison) -> None:
    with pytest.raises(GateRefused, match=r"candidate mgoe is not registered: AUC of like falls by") as caught:
        refuse_if_broken(make_comparison(auc_like=(0.70, 0.60, -0.2)), Gate())
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    refuse_if_broken(make_comparison(), Gate())


@given(loose=st.floats(-0.1, 0.1), tighter=st.floats(0, 0.1), lower=st.floats(-0.2, 0.02))
def test_a_tighter_gate_never_passes_what_a_looser_one_refuses(loose: float, tighter: float, lower: float) -> None:
    comparison = Comparison.model_validate(TEMPLATE | {"differences": [LIFT | {"lower": lower}]})
    if check(comparison, Gate(min_mean_auc_lift=loose)):
        assert check(comparison, Gate(min_mean_auc_lift=loose + tighter))


LIFT = {
    "metric": "auc",
    "task": "mean",
    "slice": "all",
    "baseline": 0.7,
    "candidate": 0.72,
    "difference": 0.02,
    "upper": 0.04,
    "level": 0.95,
    "n": 10,
    "users": 5,
}
ARM = {"name": "x", "model_digest": "m", "evaluation_digest": "e"}
TEMPLATE: dict[str, object] = {"baseline": ARM, "candidate": ARM, "log_digest": "l", "tasks": (), "slices": ("all",)}
TEMPLATE |= {"rows": 10, "users": 5, "level": 0.95, "replicates": 9, "seed": 0}


@pytest.mark.parametrize("fields", [{"max_task_auc_loss": -0.1}, {"max_ece": 2}, {"min_lift": 0.1}])
def test_a_threshold_out_of_range_or_unknown_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate(fields)
