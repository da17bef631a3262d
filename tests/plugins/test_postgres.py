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

from tests.plugins.postgres import PostgresServer

STARTER = """
import sys, time
from pathlib import Path
from tests.plugins import postgres
print(postgres.start(postgres.FOLDERS[0], Path(sys.argv[1]), []).address(), flush=True)
time.sleep(600)
"""


def answers(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


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
