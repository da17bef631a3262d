"""The suite's command, on a stand-in for the benchmarks' processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import check
from benchmarks.suite import __main__ as suite
from benchmarks.suite.benchmark import Benchmark
from benchmarks.suite.run import Places, missing

COMMAND = CliRunner()
STAND_IN = """#!{python}
import json, os, pathlib, sys
name = sys.argv[2].removeprefix("benchmarks.")
if name == "faults":
    print("no root")
    sys.exit(3)
folder = pathlib.Path(os.environ["MGOE_RESULTS"])
folder.mkdir(parents=True, exist_ok=True)
runs = folder.parent / "runs.txt"
number = len(runs.read_text()) if runs.exists() else 0
rows = [dict(edges="1", **{{"processor to linear": 1 + number / 100}})]
document = dict(command=" ".join(sys.argv[2:]), machine=dict(run=number), tables={{"Sharded build": rows}})
(folder / f"{{name}}.json").write_text(json.dumps(document))
(folder / f"{{name}}.md").write_text("# " + " ".join(sys.argv[2:]))
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    script = tmp_path / "python"
    script.write_text(STAND_IN.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.delenv("MGOE_DATA", raising=False)
    return ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]


def invoke(*words: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(suite.main)
    found = COMMAND.invoke(app, list(words))
    return found.exit_code, found.output


def test_tables_are_printed_and_results_written_to_the_folder(places: list[str], tmp_path: Path) -> None:
    code, output = invoke("--only", "graph", "--quick", *places)
    assert code == 0
    assert "# benchmarks.graph --edges 500e3,2e6" in output
    assert (tmp_path / "out" / "graph.json").exists()
    assert not (tmp_path / "out" / "graph.repeats.json").exists()


def test_what_lacks_data_is_left_out_and_what_fails_is_told_at_the_end(places: list[str]) -> None:
    code, output = invoke("--only", "faults,quality,graph", *places)
    assert code == 1
    assert "quality: left out: no kuairand_pure/ in MGOE_DATA (which is not set)" in output
    assert "exit code 3" in output
    assert "no root" in output
    assert "graph: " in output
    assert output.rstrip().endswith("failed: faults")


def test_repeated_runs_are_kept_beside_the_first_ones_results(places: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs.txt").write_text("...")  # the first run's figure is another one than the others'
    assert invoke("--only", "graph", "--repeat", "3", *places)[0] == 0
    found = json.loads((tmp_path / "out" / "graph.repeats.json").read_text())
    assert found["command"] == "python -m benchmarks.suite --only graph --repeat 3"
    rows = [row for rows in found["tables"].values() for row in rows]
    assert [(row["figure"], row["runs"]) for row in rows] == [("graph, growth: 1", [1.03, 1.0, 1.0])]
    assert json.loads((tmp_path / "out" / "graph.json").read_text())["machine"] == {"run": 3}


def test_an_unknown_name_is_one_line_and_exit_code_2(places: list[str]) -> None:
    code, output = invoke("--only", "sped", *places)
    assert code == 2
    assert output.startswith("--only sped: write some of")
    assert output.count("\n") == 1


def test_the_check_fails_where_a_figure_is_worse(places: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs.txt").write_text("")
    invoke("--only", "graph", "--repeat", "2", *places)
    (tmp_path / "runs.txt").write_text("." * 50)
    again = tmp_path / "again"
    invoke("--only", "graph", *places[:2], "--out", str(again))
    app = typer.Typer()
    app.command()(check.main)
    found = COMMAND.invoke(app, ["--against", str(tmp_path / "out"), "--new", str(again)])
    assert found.exit_code == 1
    assert "1 worse" in found.output


def test_data_and_programs_that_a_benchmark_needs_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    program = tmp_path / "15" / "bin"
    benchmark = Benchmark("speed", (), (), (), needs=("logs",), programs=(f"{tmp_path}/*/bin",))
    places = Places(tmp_path, tmp_path)
    assert missing(benchmark, places) == f"no {tmp_path}/*/bin"
    program.mkdir(parents=True)
    assert missing(benchmark, places) == ""
    assert missing(benchmark, Places(tmp_path / "else", tmp_path)) == f"no logs/ in MGOE_DATA ({tmp_path / 'else'})"
