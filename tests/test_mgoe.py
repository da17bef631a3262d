"""The command `mgoe`: one entry to all rooms, loaded when asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mgoe


def run(*arguments: str, code: str = "import mgoe; mgoe.main()") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


Call = Callable[..., tuple[object, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `mgoe` in this process: exit code, standard output and error."""

    def called(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["mgoe", *arguments])
        monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
        with pytest.raises(SystemExit) as end:
            mgoe.main()
        return (end.value.code, *capsys.readouterr())

    return called


def test_help_lists_every_room_without_loading_torch_or_kfp() -> None:
    loaded = "sorted({'torch', 'kfp', 'mlflow'} & set(sys.modules))"
    code = f"import sys, mgoe\ntry:\n  mgoe.main()\nfinally:\n  print({loaded})"
    done = run("--help", code=code)
    assert done.returncode == 0
    assert all(name in done.stdout for name in mgoe.ROOMS)
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", mgoe.ROOMS)
def test_every_room_answers_to_help_by_its_own_name(name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Usage: mgoe {name}" in done.stdout


def test_help_says_what_holds_where_an_option_is_not_given() -> None:
    done = run("pipeline", "compile", "--help")
    assert "[default: standard output]" in " ".join(done.stdout.replace("│", " ").split())


def test_a_user_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run("data", "check", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("mgoe: ")
    assert "nowhere" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not there")
@pytest.mark.parametrize(
    "arguments", [("--help",), ("experiment", "plan", "--mean", "0.1", "--lift", "0.02", "--units-a-day", "50000")]
)
def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_1(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [sys.executable, "-c", "import mgoe; mgoe.main()", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "mgoe: standard output cannot be written: No space left on device\n"


def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    code = "import sys, mgoe\nsys.modules['polars'] = None\nmgoe.main()"
    done = run("data", "describe", "x", code=code)
    assert done.returncode == 2
    assert (
        done.stderr
        == "mgoe: `mgoe data` needs the package 'polars', which is not installed: pip install 'mgoe[train]'\n"
    )


WRONG_LINES = {
    "serve-coffee": "no such command 'serve-coffee'; see `mgoe --help`",
    "--fast": "no such option: --fast; see `mgoe --help`",
    "registry sho": "no such command 'sho'. Did you mean 'show'?; see `mgoe registry --help`",
    "registry show": "missing argument 'version'; see `mgoe registry show --help`",
    "registry show 1 2": "got unexpected extra argument 2; see `mgoe registry show --help`",
    "registry show --name": "option '--name' requires an argument; see `mgoe registry show --help`",
    "registry rollback live": "invalid value for 'alias': 'live' is not one of 'baseline', 'candidate'; "
    "see `mgoe registry rollback --help`",
    "data synthetic": "missing option '--out'; see `mgoe data synthetic --help`",
    "data synthetic --rowz 3": "no such option: --rowz (Possible options: --rows); see `mgoe data synthetic --help`",
    "pipeline submit": "missing option '--endpoint' (or set KF_PIPELINES_ENDPOINT); see `mgoe pipeline submit --help`",
    "rollout set-weight it -1": "no such option: -1 (a number below 0 stands after --); "
    "see `mgoe rollout set-weight --help`",
}


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_wrong_command_line_is_one_line_with_where_help_is_and_exit_code_2(line: str, call: Call) -> None:
    assert call(*line.split()) == (2, "", f"mgoe: {WRONG_LINES[line]}\n")


def test_what_stands_after_two_dashes_reaches_the_command_as_a_value(call: Call) -> None:
    said = "mgoe: log -nowhere does not exist; name a folder or s3://bucket/prefix\n"
    assert call("data", "check", "--", "-nowhere") == (2, "", said)


@pytest.mark.parametrize("line", ["", "registry"])
def test_without_a_command_the_help_is_shown(line: str, call: Call) -> None:
    code, shown, told = call(*line.split())
    assert (code, told) == (2, "")
    assert "Usage: mgoe" in shown
