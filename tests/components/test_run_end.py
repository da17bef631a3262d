"""A step ends with the run that started it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.run_end import LOCK_VARIABLE, end_with_the_run

STEP = """
import sys, time
from components.run_end import end_with_the_run
end_with_the_run()
print("working", flush=True)
time.sleep(600)
"""


def test_a_step_ends_at_once_when_nobody_holds_the_runs_lock_any_more(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        environment = {**os.environ, LOCK_VARIABLE: str(lock)}
        step = subprocess.Popen([sys.executable, "-c", STEP], env=environment, stdout=subprocess.PIPE, text=True)
        assert step.stdout is not None
        assert step.stdout.readline() == "working\n"
        with pytest.raises(subprocess.TimeoutExpired):
            step.wait(0.2)
    assert step.wait(120) == 1


def test_a_step_of_no_run_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOCK_VARIABLE, raising=False)
    end_with_the_run()
    assert "run-end" not in {thread.name for thread in threading.enumerate()}


def test_a_step_whose_runs_lock_cannot_be_opened_works_on(tmp_path: Path) -> None:
    environment = {**os.environ, LOCK_VARIABLE: str(tmp_path / "none")}
    code = "from components.run_end import end_with_the_run; end_with_the_run(); import time; time.sleep(0.2)"
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=120).returncode == 0
