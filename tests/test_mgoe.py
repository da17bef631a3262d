"""The command `mgoe`: one entry to all rooms, loaded when asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mgoe


def run(*arguments: str, code: str = "import mgoe; mgoe.main()") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


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


def test_an_unknown_command_is_refused_by_name() -> None:
    done = run("serve-coffee")
    assert done.returncode == 2
    assert "serve-coffee" in done.stderr
