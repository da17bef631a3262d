"""The local runner, on a pipeline of two small steps and, once, on the real one."""

import contextlib
import fcntl
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pytest
import yaml
from kfp import compiler, dsl

from components.events import Event
from model.errors import Fault, MgoeError, UserError
from model.registry.gate import GateRefused
from pipelines.local_run import RunFolder, run_locally, without_absent

IMAGE = "mgoe/train:0.1.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def first(number: dsl.OutputPath(int)) -> None:  # type: ignore[valid-type]
    from pathlib import Path

    from components.step import step

    with step("first"):
        print("a line of the first step")  # noqa: T201
        Path(number).write_text("1")


@dsl.component(base_image=IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def second(number: int, end: str) -> None:
    import fcntl
    import os
    import signal
    import time
    from pathlib import Path

    from components.step import step
    from model.errors import Fault, UserError
    from model.registry.gate import GateRefused

    with step("second"):
        if end.startswith("/"):
            with Path(end).open("a") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                held.write(f"{os.getpid()}\n")
                held.flush()
                time.sleep(600)
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "user":
            raise UserError("column long_view is missing")
        if end == "fault":
            raise Fault("no space left on the disk")
        if end == "gate":
            raise GateRefused("candidate is not better")
        if end == "bug":
            raise ZeroDivisionError("oops")


RUNNER = """
import sys
from pathlib import Path
from pipelines.local_run import RunFolder, run_locally
from pipelines.lock import held
folder = RunFolder(Path(sys.argv[1]))
with held(folder.root) as lock:
    run_locally(folder, Path(sys.argv[2]).read_text(), {"end": sys.argv[3]}, lambda event: None, lock=lock)
"""
LONG = 120.0
"""Seconds that what takes a few may take on a busy machine."""


@dsl.pipeline(name="two-steps")  # type: ignore[untyped-decorator]
def two_steps(end: str) -> None:
    second(number=first().output, end=end)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("compiled") / "two.yaml"
    compiler.Compiler().compile(two_steps, str(path))
    return path.read_text()


@pytest.fixture
def go(compiled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[Event]]:
    def run(end: str) -> list[Event]:
        heard: list[Event] = []
        run_locally(RunFolder(tmp_path / "runs"), compiled, {"end": end}, heard.append)
        return heard

    return run


def test_steps_tell_when_they_start_and_end(go: Callable[[str], list[Event]]) -> None:
    told = [(event.step, event.state) for event in go("well")]
    assert told == [("first", "started"), ("first", "made"), ("second", "started"), ("second", "made")]


def test_nothing_of_kfp_or_the_steps_is_shown_but_all_of_it_is_logged(
    go: Callable[[str], list[Event]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go("well")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert "a line of the first step" in (tmp_path / "runs" / "run.log").read_text()


def test_verbose_shows_what_steps_print(compiled: str, tmp_path: Path) -> None:
    echo = io.StringIO()
    run_locally(RunFolder(tmp_path / "runs"), compiled, {"end": "well"}, lambda event: None, echo)
    assert "a line of the first step" in echo.getvalue()


@pytest.mark.parametrize(
    ("end", "kind", "told"),
    [
        ("user", UserError, "second: column long_view is missing"),
        ("fault", Fault, "second: no space left on the disk (log: "),
        ("gate", GateRefused, "second: candidate is not better"),
        ("bug", Fault, "second: ZeroDivisionError: oops (log: "),
        ("killed", Fault, "second: killed before it could say why"),
    ],
)
def test_a_failing_step_speaks_for_itself_in_one_line(
    go: Callable[[str], list[Event]], end: str, kind: type[MgoeError], told: str
) -> None:
    with pytest.raises(kind) as error:
        go(end)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_a_run_that_is_killed_leaves_no_step_behind_who_goes_on_working(compiled: str, tmp_path: Path) -> None:
    pipeline, working = tmp_path / "two.yaml", tmp_path / "working"
    pipeline.write_text(compiled)
    command = [sys.executable, "-c", RUNNER, str(tmp_path / "runs"), str(pipeline), str(working)]
    with subprocess.Popen(command) as run:
        wait_until(lambda: working.exists() and working.read_text().endswith("\n"))
        run.kill()
    try:
        with working.open() as file:
            wait_until(lambda: is_free(file))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(working.read_text()), signal.SIGKILL)


def wait_until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_free(file: TextIO) -> bool:
    """Whether nobody has the file locked any more."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_the_environment_is_as_it_was_afterwards(go: Callable[[str], list[Event]]) -> None:
    before = dict(os.environ)
    go("well")
    assert dict(os.environ) == before


def test_parameters_that_are_not_given_are_taken_out_of_pipeline_and_components() -> None:
    parameter: dict[str, Any] = {"parameterType": "STRING", "isOptional": True}
    spec = {
        "root": {
            "inputDefinitions": {"parameters": {"store": parameter, "recipe": {"defaultValue": "r"}}},
            "dag": {
                "tasks": {
                    "train": {
                        "componentRef": {"name": "comp-train"},
                        "inputs": {
                            "parameters": {
                                "store": {"componentInputParameter": "store"},
                                "recipe": {"componentInputParameter": "recipe"},
                            }
                        },
                    }
                }
            },
        },
        "components": {"comp-train": {"inputDefinitions": {"parameters": {"store": parameter, "recipe": {}}}}},
    }
    left = yaml.safe_load(without_absent(yaml.safe_dump(spec), {}))
    assert set(left["root"]["inputDefinitions"]["parameters"]) == {"recipe"}
    assert set(left["root"]["dag"]["tasks"]["train"]["inputs"]["parameters"]) == {"recipe"}
    assert set(left["components"]["comp-train"]["inputDefinitions"]["parameters"]) == {"recipe"}


def mgoe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mgoe", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=300,
    )


@pytest.mark.parametrize("name", ["synthetic", "named-like-no-recipe"])
def test_a_log_that_does_not_exist_is_one_line_and_exit_code_2(tmp_path: Path, name: str) -> None:
    done = mgoe("run", "--data", str(tmp_path / name), "--out", str(tmp_path / "runs"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"log {tmp_path / name} does not exist" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_store_that_is_down_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = mgoe(
        "run",
        *("--out", str(tmp_path / "runs"), "--store", "s3://bucket/artifacts"),
        S3_ENDPOINT_URL="http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="k",
        AWS_SECRET_ACCESS_KEY="s",  # noqa: S106
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not answer" in done.stderr


def test_an_output_folder_that_cannot_be_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = mgoe("run", "--out", str(tmp_path / "file" / "runs"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
