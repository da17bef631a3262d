"""A run folder and the processes that want it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.errors import Fault, UserError
from pipelines.lock import held

HOLDER = """
import sys, time
from pathlib import Path
from pipelines.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_folder_that_another_process_holds_is_refused_by_its_number(tmp_path: Path) -> None:
    told = f"out folder {tmp_path} is in use by process {{}}; name another with --out"
    with holder(tmp_path) as process:
        with pytest.raises(UserError) as error, held(tmp_path):
            pass
        assert str(error.value) == told.format(process.pid)


def test_a_second_run_in_a_folder_ends_at_once_and_leaves_the_first_ones_files_alone(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("of the first\n")
    with holder(tmp_path):
        command = [sys.executable, "-m", "mgoe", "run", "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is in use by process" in done.stderr
    assert (tmp_path / "events.jsonl").read_text() == "of the first\n"


def test_a_killed_process_leaves_its_folder_free(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with held(tmp_path):
            assert (tmp_path / "run.lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_is_free_after_its_run(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "runs"):
            pass


def test_a_folder_that_cannot_be_made_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match=r"cannot write to .*file/runs"), held(tmp_path / "file" / "runs"):
        pass
