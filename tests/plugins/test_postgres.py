from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from benchmarks.evidence.postgres import PostgresServer
from tests.plugins.postgres import require

STARTER = """
import sys, time
from pathlib import Path
from benchmarks.evidence import postgres
print(postgres.start(postgres.FOLDERS[0], Path(sys.argv[1]), []).address(), flush=True)
time.sleep(600)
"""


def answers(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_absent_skips_a_test_but_fails_it_in_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no real PostgreSQL"):
        require("no real PostgreSQL")


def test_what_was_committed_is_there_after_a_crash_of_the_server(postgres_server: PostgresServer) -> None:
    address = postgres_server.make_database()
    with psycopg.connect(address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    postgres_server.crash()
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


@pytest.mark.usefixtures("postgres_server")  # skips where PostgreSQL is absent
def test_the_server_dies_with_a_session_that_is_killed() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mgoe-postgres-"))
    try:
        command = [sys.executable, "-c", STARTER, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as starter:
            assert starter.stdout is not None
            address = starter.stdout.readline().strip()
            assert answers(address)
            starter.send_signal(signal.SIGKILL)
        end = time.monotonic() + 10
        while answers(address) and time.monotonic() < end:
            time.sleep(0.05)
        assert not answers(address)
        time.sleep(0.2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
