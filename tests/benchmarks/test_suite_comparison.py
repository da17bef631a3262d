"""New figures against stored ones: laws of the comparison, and its table."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.check import check, show
from benchmarks.results import write_results
from benchmarks.suite.benchmark import Benchmark, Ratio
from benchmarks.suite.comparison import Finding, compare
from benchmarks.suite.figures import Figure
from benchmarks.suite.repeats import write_repeats
from benchmarks.suite.stored import Results, in_folder

GOLDEN = Path(__file__).parent / "golden" / "comparison.txt"
FASTER = Ratio("training", "Training", ("case",), "ratio", "higher")
LOST = Ratio("lost", "Faults", ("fault",), "lost", "lower", "difference", over="answered")
BENCHMARK = Benchmark("speed", (FASTER, LOST), (), ())

RATIOS = st.sampled_from([FASTER, replace(FASTER, better="lower"), LOST, replace(LOST, better="higher", over="")])
VALUES = st.floats(0.0, 1e6, allow_subnormal=False).map(lambda value: round(value, 3))
BANDS = st.one_of(st.none(), st.floats(0.0, 10.0), st.just(math.inf))


def finding(ratio: Ratio, stored: float, measured: float, band: float | None, step: float = 0.0) -> Finding:
    one, other = (Figure("a", ratio, value, step) for value in (stored, measured))
    bands = {} if band is None else {"a": band}
    return compare({"a": one}, {"a": other}, bands)[0].finding


@given(RATIOS, VALUES, BANDS)
def test_a_figure_that_did_not_change_is_as_before_whatever_its_band(
    ratio: Ratio, value: float, band: float | None
) -> None:
    assert finding(ratio, value, value, band) == "as before"


@given(RATIOS, VALUES, VALUES, VALUES, BANDS)
def test_the_better_the_measured_figure_the_better_the_finding(
    ratio: Ratio, stored: float, one: float, other: float, band: float | None
) -> None:
    low, high = sorted((one, other), reverse=ratio.better == "lower")
    order = {"worse": 0, "not judged": 1, "as before": 1, "better": 2}
    assert order[finding(ratio, stored, low, band)] <= order[finding(ratio, stored, high, band)]


@given(RATIOS, VALUES, VALUES, st.floats(0.0, 10.0), st.floats(0.0, 10.0))
def test_a_wider_band_makes_no_finding(ratio: Ratio, stored: float, measured: float, band: float, more: float) -> None:
    wide = finding(ratio, stored, measured, band + more)
    assert wide in ("as before", finding(ratio, stored, measured, band))


@given(RATIOS, VALUES, VALUES, BANDS)
def test_what_is_worse_one_way_round_is_better_the_other_way(
    ratio: Ratio, stored: float, measured: float, band: float | None
) -> None:
    turned: dict[Finding, Finding] = {"worse": "better", "better": "worse"}
    found = finding(ratio, stored, measured, band)
    assert finding(ratio, measured, stored, band) == turned.get(found, found)


@given(VALUES.filter(bool), VALUES.filter(bool), st.floats(0.001, 1.0), st.sampled_from([0.125, 2.0, 1024.0]))
def test_a_ratio_is_judged_by_what_it_is_multiplied_with(
    stored: float, measured: float, band: float, scale: float
) -> None:
    found = finding(FASTER, stored, measured, band)
    if abs(abs(math.log(measured / stored)) - band) > 1e-9:
        assert finding(FASTER, scale * stored, scale * measured, band) == found


@given(st.dictionaries(st.sampled_from("abcdef"), VALUES), st.dictionaries(st.sampled_from("abcdef"), VALUES))
def test_each_figure_is_told_once_and_those_of_one_side_are_missing_or_new(
    stored: dict[str, float], measured: dict[str, float]
) -> None:
    sides = [{name: Figure(name, FASTER, value) for name, value in side.items()} for side in (stored, measured)]
    found = compare(sides[0], sides[1], {})
    assert sorted(one.name for one in found) == sorted({*stored, *measured})
    assert {one.name for one in found if one.finding == "missing"} == stored.keys() - measured.keys()
    assert {one.name for one in found if one.finding == "new"} == measured.keys() - stored.keys()


def test_a_change_of_the_last_printed_digit_is_rounding() -> None:
    assert finding(FASTER, 1.4, 1.3, 0.0, step=0.1) == "as before"
    assert finding(FASTER, 1.4, 1.2, 0.0, step=0.1) == "worse"


def test_a_ratio_that_falls_to_nothing_is_worse_whatever_its_band() -> None:
    assert finding(FASTER, 1.4, 0.0, 5.0) == "worse"
    assert finding(FASTER, 0.0, 1.4, 5.0) == "better"


def tables(ratios: dict[str, float], lost: int) -> dict[str, list[dict[str, object]]]:
    return {
        "Training, rows a second": [{"case": case, "ours": 9, "ratio": ratio} for case, ratio in ratios.items()],
        "Faults under 20 requests a second": [{"fault": "killed", "answered": 200, "lost": lost}],
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Stored results with repeated runs, and new ones."""
    stored, new = tmp_path / "stored", tmp_path / "new"
    facts: dict[str, str | int] = {"processor": "A", "cores": 2, "commit": "1"}
    before = tables({"mmoe": 2.0, "mgoe": 5.0, "ple": 3.0, "gone": 1.5}, lost=0)
    write_results("speed", "command", facts, before, stored)
    runs = [Results("command", facts, tables({"mmoe": a, "mgoe": b, "ple": c}, 0)) for a, b, c in RUNS]
    write_repeats(BENCHMARK, "command --repeat 3", facts, runs, stored)
    after = tables({"mmoe": 1.9, "mgoe": 3.1, "ple": 4.5, "esmm": 1.1}, lost=1)
    write_results("speed", "command", facts | {"cores": 4, "commit": "2"}, after, new)
    return stored, new


RUNS = ((2.0, 5.0, 3.0), (2.1, 4.9, 3.0), (1.95, 5.1, 3.1))


def test_the_table_names_figure_stored_measured_and_band(folders: tuple[Path, Path]) -> None:
    checked = check([BENCHMARK], in_folder(folders[0]), in_folder(folders[1]))
    written = io.StringIO()
    show(Console(file=written, width=110), checked, every=True)
    assert written.getvalue() == GOLDEN.read_text()


def test_what_was_not_measured_again_or_otherwise_is_told_and_not_compared(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    stored, _ = folders
    assert check([BENCHMARK], in_folder(stored), in_folder(stored)).notes == ["speed: not measured again"]
    assert check([BENCHMARK], in_folder(stored), in_folder(tmp_path)).notes == ["speed: not measured again"]
    assert check([BENCHMARK], in_folder(tmp_path), in_folder(stored)).notes == [
        "speed: nothing is stored to compare with"
    ]
    write_results("speed", "command --rows 9", {}, tables({"mmoe": 0.1}, 0), tmp_path)
    found = check([BENCHMARK], in_folder(stored), in_folder(tmp_path))
    assert found.notes == ["speed: not compared: stored is that of `command`, measured that of `command --rows 9`"]
    assert found.figures == []


def test_a_table_that_is_there_no_more_is_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    facts: dict[str, str | int] = {"processor": "A", "cores": 2}
    write_results("speed", "command", facts, {"Other": []}, tmp_path)
    found = check([BENCHMARK], in_folder(folders[0]), in_folder(tmp_path))
    assert found.notes == [
        "speed: no training: no figure 'ratio' in a table 'Training'",
        "speed: no lost: no figure 'lost' in a table 'Faults'",
    ]
    assert {one.finding for one in found.figures} == {"missing"}


def test_figures_without_repeated_runs_are_not_judged(folders: tuple[Path, Path]) -> None:
    stored, new = folders
    (stored / "speed.repeats.json").unlink()
    found = check([BENCHMARK], in_folder(stored), in_folder(new))
    assert [one.name for one in found.of("not judged")] == [
        "speed, training: mgoe",
        "speed, training: ple",
        "speed, lost: killed",
    ]
    assert found.of("worse") == []
