"""`mgoe gateway`: what a person types and sees."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway import assignment, vectors
from tests.serving.gateway.client import Client
from tests.serving.gateway.gateways import wait_for

CONFIG = """\
experiment: {id: exp-1, salt: s}
baseline: {endpoints: [{host: 127.0.0.1, http: 1}]}
candidate: {endpoints: [{host: 127.0.0.1, http: 1}]}
listener: {port: 0}
"""


def mgoe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mgoe", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "gateway.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def running(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """`mgoe gateway run`: the process, its folder and its port."""
    folder = config.parent / "gateway"
    said = config.parent / "said"
    command = [sys.executable, "-m", "mgoe", "gateway", "run", "-c", str(config), "--folder", str(folder)]
    with said.open("wb") as file, subprocess.Popen([*command, "--settle", "0"], stderr=file) as process:
        wait_for(lambda: b"listens on" in said.read_bytes() or process.poll() is not None, "the gateway")
        found = re.search(r"listens on 127\.0\.0\.1:(\d+)", said.read_text())
        assert found, said.read_text()
        yield process, folder, int(found[1])
        process.terminate()
        assert process.wait(20) == 0


def test_weights_are_set_and_shown(running: tuple[subprocess.Popen[bytes], Path, int]) -> None:
    _, folder, port = running
    where = ["--folder", str(folder)]
    done = mgoe("set-weight", "12.5", "--mirror", "3", *where)
    assert (done.returncode, done.stdout) == (0, "exp-1 phase 2: candidate 12.5 %, mirror 3 %\n")
    shown = json.loads(mgoe("weights", "--json", *where).stdout)
    assert (shown["candidate_weight"], shown["phase"], shown["hosts"]["baseline"]["known"]) == (1250, 2, 1)
    table = mgoe("weights", *where).stdout
    assert "87.5 %" in table
    assert "0 of 1" in table
    assert Client(port).rank("u1").arm == assignment.arm(assignment.bucket("s", "u1"), 1250)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set-weight", "12.345"], "at most two decimals"),
        (["set-weight", "1e-9"], "at most two decimals"),
        (["set-weight", "-1"], "mgoe: PERCENT -1: write 0 to 100\n"),
        (["set-weight", "-0.5"], "mgoe: PERCENT -0.5: write 0 to 100\n"),
        (["set-weight", "5", "--mirror", "-1"], "mgoe: --mirror -1: write 0 to 100\n"),
        (["set-weight", "nan"], "PERCENT nan: write 0 to 100"),
        (["set-weight", "5", "--mirror", "101"], "--mirror 101: write 0 to 100"),
        (["set-weight", "5", "--phase", "77"], "phase 77 was expected"),
    ],
)
def test_a_weight_that_cannot_be_is_refused(
    running: tuple[subprocess.Popen[bytes], Path, int], arguments: list[str], said: str
) -> None:
    done = mgoe(*arguments, "--folder", str(running[1]))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_gateway_in_the_folder_is_refused(
    running: tuple[subprocess.Popen[bytes], Path, int], config: Path
) -> None:
    done = mgoe("run", "-c", str(config), "--folder", str(running[1]))
    assert done.returncode == 2
    assert re.fullmatch(r"mgoe: a gateway already runs in .* \(process \d+\); give another folder\n", done.stderr)


def test_an_envoy_that_ends_by_itself_is_a_fault(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mgoe", "gateway", "run", "-c", str(config), "--folder", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listens on" in process.stderr.readline()
        os.kill(int((tmp_path / ".running").read_text()), signal.SIGKILL)
        assert "Envoy ended by itself with -9" in process.stderr.read()
    assert process.returncode == 1


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_no_envoy_outlives_a_command_that_is_killed(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mgoe", "gateway", "run", "-c", str(config), "--folder", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listens on" in process.stderr.readline()
        process.kill()

    def gone() -> bool:
        with (tmp_path / ".running").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    wait_for(gone, "the end of Envoy")


def test_without_a_gateway_the_folder_is_named(tmp_path: Path) -> None:
    done = mgoe("weights", "--folder", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no Envoy runs for {tmp_path}" in done.stderr
    assert mgoe("set-weight", "5", "--folder", str(tmp_path)).returncode == 2


def test_rendered_files_are_named_and_checked(config: Path, tmp_path: Path) -> None:
    done = mgoe("render", "-c", str(config), "-o", str(tmp_path))
    assert done.returncode == 0
    assert [Path(line).name for line in done.stdout.splitlines()] == ["bootstrap.json", "routes.json", "clusters.json"]
    assert all(Path(line).is_file() for line in done.stdout.splitlines())


def test_a_wrong_configuration_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.replace("salt: s", "salt: 'a b'"))
    done = mgoe("render", "-c", str(path), "-o", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "experiment.salt" in done.stderr


def test_an_agent_without_a_service_account_names_the_folder_that_it_was_given(config: Path, tmp_path: Path) -> None:
    agent = ("agent", "-c", str(config), "--name", "mgoe-gateway", "--folder", str(tmp_path / "gateway"))
    for given, folder in (((), "/var/run/secrets"), (("--account", str(tmp_path)), str(tmp_path))):
        refused = mgoe(*agent, *given)
        assert refused.returncode == 2
        [line] = refused.stderr.splitlines()
        assert folder in line
        assert "this is no pod" in line


def test_units_are_assigned_without_a_gateway() -> None:
    done = mgoe("assign", "--salt", "mgoe", "--percent", "50", "user-1", "用户-17")
    bucket = vectors.published()["mgoe"]
    expected = [f"{unit}\t{bucket[unit]}\t{assignment.arm(bucket[unit], 5000)}" for unit in ("user-1", "用户-17")]
    assert done.stdout.splitlines() == expected
    assert mgoe("assign", "--salt", "mgoe", "--percent", "50", "a b").returncode == 2


def test_the_vectors_are_printed_as_published() -> None:
    assert mgoe("vectors").stdout == vectors.FILE.read_text(encoding="utf-8")
