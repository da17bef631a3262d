"""From tables to figures, from repeated runs to bands, and results from files."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results import STORED, write_results
from benchmarks.suite.benchmark import Benchmark, Ratio
from benchmarks.suite.catalogue import BENCHMARKS, chosen
from benchmarks.suite.figures import figures_of, number_of
from benchmarks.suite.noise import LEVEL, bands
from benchmarks.suite.repeats import read_bands
from benchmarks.suite.stored import in_commit, in_folder
from model.errors import UserError

FASTER = Ratio("training", "Training", ("case", "threads"), "ratio", "higher")


@pytest.mark.parametrize(
    ("cell", "number", "step"),
    [
        (1.4, 1.4, 0.1),
        (7, 7.0, 1.0),
        ("3.93 (3.38 to 4.13)", 3.93, 0.01),
        ("1.05 ± 0.20", 1.05, 0.01),
        ("-0.0073", -0.0073, 0.0001),
        ("+0.0371", 0.0371, 0.0001),
        (1e-07, 1e-07, 1e-07),
        (2.5e-07, 2.5e-07, 1e-08),
        ("", None, 0.0),
        ("-", None, 0.0),
        (None, None, 0.0),
        (True, None, 0.0),
        ("yes", None, 0.0),
    ],
)
def test_a_cell_is_a_number_or_begins_with_one(cell: object, number: float | None, step: float) -> None:
    found, last = number_of(cell)
    assert found == number
    assert last == pytest.approx(step)


@given(st.floats(-1e9, 1e9, allow_nan=False), st.integers(0, 6))
def test_a_rounded_number_is_read_back_to_within_its_last_digit(value: float, digits: int) -> None:
    found, step = number_of(f"{value:.{digits}f}")
    assert found is not None
    assert step == pytest.approx(10.0**-digits)
    assert abs(found - value) <= step * 0.5 + 1e-6 * abs(value)


def test_rows_are_named_by_their_key_and_those_without_a_figure_left_out() -> None:
    rows = [{"case": "mgoe", "threads": 2, "ratio": "3.1 (2.9 to 3.3)"}, {"case": "plain", "threads": 2, "ratio": ""}]
    found = figures_of(Benchmark("speed", (FASTER,), (), ()), {"Training, rows a second": rows, "Other": rows})
    assert list(found) == ["speed, training: mgoe, 2"]
    assert found["speed, training: mgoe, 2"].value == 3.1


def test_counts_are_divided_and_rows_can_be_chosen() -> None:
    lost = Ratio("lost", "Faults", ("fault",), "lost", "lower", "difference", "answered", (("fault", ("a", "b")),))
    rows = [
        {"fault": "a", "lost": 1, "answered": 200},
        {"fault": "b", "lost": 1, "answered": 0},
        {"fault": "c", "lost": 1, "answered": 200},
    ]
    found = figures_of(Benchmark("faults", (lost,), (), ()), {"Faults": rows})
    assert {name: one.value for name, one in found.items()} == {"faults, lost: a": 0.005}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([1.0, 1.0], "speed, training: a, 1: two rows of the results are named so; add a column to the key"),
        ([-1.0], "speed, training: a, 1: -1 is no ratio; those are 0 or more"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(rows: list[float], told: str) -> None:
    table = [{"case": "a", "threads": 1, "ratio": value} for value in rows]
    with pytest.raises(UserError) as error:
        figures_of(Benchmark("speed", (FASTER,), (), ()), {"Training": table})
    assert str(error.value) == told


def test_all_stored_results_have_figures() -> None:
    for benchmark in BENCHMARKS:
        for folder in (STORED, STORED / "quick"):
            results = in_folder(folder)(benchmark.name)
            assert results is None or figures_of(benchmark, results.tables)


def test_a_new_run_leaves_the_band_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    worse, trials, figures = 0, 2_000, 5
    for _ in range(trials):
        drawn = np.exp(rng.normal(1.0, 0.1, (figures, 4)))
        width = bands({str(at): (FASTER, drawn[at, :3].tolist()) for at in range(figures)})
        worse += sum(math.log(drawn[at, 3] / drawn[at, 0]) < -width[str(at)] for at in range(figures))
    assert worse <= 2 * LEVEL * trials * figures


def test_runs_that_agree_by_chance_have_the_band_of_their_kind() -> None:
    width = bands({"calm": (FASTER, [2.0, 2.0, 2.0]), "loud": (FASTER, [1.0, 2.0, 3.0])})
    assert 0 < width["calm"] < width["loud"]


def test_figures_that_never_move_have_no_band_and_a_single_run_tells_none() -> None:
    assert bands({"a": (FASTER, [2.0, 2.0]), "b": (FASTER, [3.0])}) == {"a": 0.0, "b": 0.0}
    assert bands({"a": (FASTER, [2.0])}) == {"a": math.inf}
    assert bands({"a": (FASTER, [2.0, 0.0])}) == {"a": math.inf}
    assert bands({}) == {}


def test_results_of_a_commit_are_those_that_it_holds(tmp_path: Path) -> None:
    (tmp_path / "speed.json").write_text('{"command": "c", "machine": {}, "tables": {}}')
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    (tmp_path / "speed.json").unlink()
    found = in_commit("HEAD", tmp_path)
    assert (found("speed") is None, found("graph")) == (False, None)
    with pytest.raises(UserError, match=r"^--against v1: write a folder of results, or a commit of this repository$"):
        in_commit("v1", tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"command": "c"}', '{"command": "c", "machine": {}, "tables": {"Training": ["row"]}}']
)
def test_a_file_that_is_no_results_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "speed.json").write_text(text)
    with pytest.raises(UserError, match="not the results of a benchmark"):
        in_folder(tmp_path)("speed")


@pytest.mark.parametrize(
    "row", [{}, {"kind": "k", "figure": "f", "runs": [None]}, {"kind": "k", "figure": "f", "runs": 3}]
)
def test_repeated_runs_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path, row: dict[str, object]) -> None:
    write_results("speed.repeats", "command", {}, {"Figures": [row]}, tmp_path)
    with pytest.raises(UserError, match=r"^speed\.repeats\.json: not repeated runs: .*; make them again$"):
        read_bands(Benchmark("speed", (FASTER,), (), ()), in_folder(tmp_path))


def test_benchmarks_are_chosen_by_name_in_the_suites_order() -> None:
    assert [each.name for each in chosen("graph, speed")] == ["speed", "graph"]
    with pytest.raises(UserError, match=r"^--only sped: write some of speed, graph"):
        chosen("sped")
