"""Rounds in turns, and the report that is made of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.results import write_results
from benchmarks.serving.load import Outcome
from benchmarks.serving.measure import Cell, Plan
from benchmarks.serving.overhead import Overhead
from benchmarks.serving.rounds import Rounds, Spread, in_turns
from benchmarks.serving.tables import Report, throughput


def outcome(per_second: int, latency_ms: float = 1.0, failed: int = 0) -> Outcome:
    """Of one second."""
    return Outcome(float(per_second), 1.0, (latency_ms,) * per_second, failed)


def rounds(plain: list[Outcome], ours: list[Outcome]) -> Rounds:
    return Rounds({"plain": plain, "ours": ours})


def cell(throughput_: Rounds, load: Rounds, candidates: int = 500) -> Cell:
    return Cell("mmoe", 1, candidates, throughput_, {0.9: load}, {"plain": 1.0, "ours": 2.0})


def aims_of(report: Report) -> dict[str, str]:
    return {row["aim"]: row["met"] for row in report.tables()["Aims"]}


def test_rounds_alternate_between_the_servers() -> None:
    asked: list[tuple[str, int]] = []

    def load(name: str, turn: int) -> Outcome:
        asked.append((name, turn))
        return outcome(1)

    in_turns({name: partial(load, name) for name in ("plain", "ours")}, 2)
    assert asked == [("plain", 0), ("ours", 0), ("plain", 1), ("ours", 1)]


def test_a_ratio_compares_what_was_measured_in_the_same_round() -> None:
    found = rounds([outcome(10), outcome(20), outcome(40)], [outcome(60), outcome(100), outcome(280)])
    assert found.ratio("ours", throughput) == Spread(median=6, low=5, high=7)


def test_an_open_loop_lasts_as_long_as_its_requests_need_within_bounds() -> None:
    plan = Plan(rounds=1, seconds=1, load_rounds=2, load_s=(1, 5), requests=1000)
    assert [plan.lasting(rate) for rate in (10_000, 250, 1)] == [1, 2, 5]


def test_five_times_the_throughput_and_a_lower_p99_meet_the_aims() -> None:
    fast = rounds([outcome(10)], [outcome(50)])
    report = Report(main=[cell(fast, rounds([outcome(9, 20.0)], [outcome(9, 19.0)]))])
    assert set(aims_of(report).values()) == {"met"}


@pytest.mark.parametrize(
    ("closed", "load"),
    [
        (rounds([outcome(10)], [outcome(49)]), rounds([outcome(9, 20.0)], [outcome(9, 19.0)])),
        (rounds([outcome(10)], [outcome(50)]), rounds([outcome(9, 20.0)], [outcome(9, 21.0)])),
        (rounds([outcome(10)], [outcome(50)]), rounds([outcome(9, 20.0)], [outcome(9, 19.0, failed=1)])),
    ],
    ids=["fewer than five times", "a higher p99", "a request that failed"],
)
def test_a_missed_aim_is_told(closed: Rounds, load: Rounds) -> None:
    assert "missed" in aims_of(Report(main=[cell(closed, load)])).values()


@pytest.mark.parametrize(("over", "met"), [(1.9, "met"), (2.1, "missed")])
def test_the_runtime_may_cost_two_milliseconds(over: float, met: str) -> None:
    one = Spread.of([1.0])
    report = Report(overheads=[Overhead("mmoe", 500, "gRPC", one, one, Spread.of([over]))])
    assert list(aims_of(report).values()) == [met]


def test_results_of_a_run_that_was_stopped_can_be_written(tmp_path: Path) -> None:
    report = Report(main=[cell(rounds([outcome(10)], [outcome(50)]), rounds([outcome(9)], [outcome(9)]), 50)])
    text = write_results("serving", "python", {"cores": 2}, report.tables(), tmp_path).read_text()
    assert "| mmoe | 1 | 50 | ours | 50 (50 to 50) | 5.00 (5.00 to 5.00) |" in text
    assert "(no rows)" in text
