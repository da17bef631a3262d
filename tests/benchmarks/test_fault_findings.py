"""What users saw, as figures of a fault."""

from __future__ import annotations

import pytest

from benchmarks.faults.finding import Breach, after_zero, toll_of
from benchmarks.faults.users import Seen
from serving.gateway.assignment import Arm


def seen(at: float, outcome: str = "ok", arm: Arm | None = "candidate", took_s: float = 0.01) -> Seen:
    return Seen(at, took_s, outcome, arm, None)


def test_a_breach_is_seen_once_enough_of_the_latest_answers_are_bad() -> None:
    answers = [seen(second) for second in range(10)] + [seen(10 + second / 10, "500") for second in range(10)]
    # Of the last 5 s at 10.1, two of six are bad; at 10.2, three of seven.
    assert Breach(share=0.4, requests=5, window_s=5.0).seen_at(answers, 10.0) == pytest.approx(10.2)
    assert Breach(share=0.4, requests=12, window_s=5.0).seen_at(answers, 10.0) == pytest.approx(10.7)
    assert Breach(share=0.4, requests=100, window_s=5.0).seen_at(answers, 10.0) is None


def test_answers_of_the_other_arm_and_of_before_are_no_breach() -> None:
    answers = [seen(1.0, "500")] * 50 + [seen(10.0, "500", "baseline")] * 50
    assert Breach(share=0.1, requests=1).seen_at(answers, 9.0) is None


def test_slow_answers_are_bad_ones_where_the_guard_is_about_latency() -> None:
    answers = [seen(10.0, took_s=0.8)] * 20
    assert Breach(share=0.01, requests=20).seen_at(answers, 9.0) is None
    assert Breach(share=0.01, requests=20, slow_s=0.7).seen_at(answers, 9.0) == 10.0


def test_whose_a_bad_answer_is() -> None:
    answers = [
        seen(1.0),
        seen(1.0, "503", "candidate"),
        seen(1.0, "503", "baseline"),
        seen(1.0, "504", "baseline"),
        seen(1.0, "connection", None),
    ]
    of_candidate = toll_of(answers, "candidate")
    assert (of_candidate.sick, of_candidate.lost) == ({"503": 1}, {"503": 1})
    assert (of_candidate.late, of_candidate.unreached) == ({"504": 1}, {"connection": 1})
    assert toll_of(answers, None).lost == {"503": 2}


def test_a_request_under_way_when_the_weight_falls_is_no_request_after_it() -> None:
    assert after_zero([seen(10.5, took_s=0.6), seen(9.0), seen(10.5, arm="baseline")], 10.0) == 0
    assert after_zero([seen(10.5)], 10.0) == 1
