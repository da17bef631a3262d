"""A real PostgreSQL for tests, on loopback.

It is started when the first test asks for it and lives for the session. The server dies with the process that started
it, even when that one is killed. Each worker of pytest-xdist starts its own. As root it runs as the user `postgres`,
since it refuses root.

Debian 12: apt-get install -y --no-install-recommends postgresql
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

FOLDERS = tuple(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
USER = "postgres"
READY_SECONDS = 60.0


@dataclass
class PostgresServer:
    """A running server: where it listens, and what makes databases."""

    binaries: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def address(self, database: str = "postgres") -> str:
        """URL of a database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.address(name)

    def crash(self) -> None:
        """Kills the server as a power cut would, and starts it again on what is on disk."""
        self.process.kill()
        self.process.wait()
        _wait_until_gone(self.folder)
        self.process = _spawn(self.binaries, self.folder, self.port)
        _wait_until_ready(self)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server. Skips the test, naming what is absent, where PostgreSQL is not installed."""
    if not FOLDERS or shutil.which("setpriv") is None:
        pytest.skip("no real PostgreSQL: /usr/lib/postgresql/*/bin or setpriv not installed")
    # Not below pytest's own folder: that one is closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="mgoe-postgres-"))
    started: list[PostgresServer] = []
    try:
        yield start(FOLDERS[0], folder, started)
    finally:
        for server in started:
            server.process.send_signal(signal.SIGQUIT)  # at once, without a checkpoint: there is nothing to save
            server.process.wait()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> str:
    """URL of a new, empty database."""
    return postgres_server.make_database()


def start(binaries: Path, folder: Path, started: list[PostgresServer]) -> PostgresServer:
    """Makes a cluster of databases below `folder` and serves it; `started` holds the server even where this fails."""
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    options = ["--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    done = subprocess.run(
        [*_as_user(), str(binaries / "initdb"), "-D", str(folder / "data"), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    if done.returncode != 0:
        pytest.fail(f"initdb failed: {done.stderr[-2000:]}")
    port = _free_port()
    server = PostgresServer(binaries, folder, port, _spawn(binaries, folder, port))
    started.append(server)
    _wait_until_ready(server)
    return server


def _spawn(binaries: Path, folder: Path, port: int) -> subprocess.Popen[bytes]:
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 40}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # The kernel kills the server when this process dies, however it dies; its children see that and end.
    command = [*_as_user(), "setpriv", "--pdeathsig", "KILL", "--", str(binaries / "postgres")]
    with (folder / "postgres.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "-D", str(folder / "data"), *flags], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder
        )


def _as_user() -> list[str]:
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"] if os.geteuid() == 0 else []


def _wait_until_ready(server: PostgresServer) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            psycopg.connect(server.address(), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if server.process.poll() is not None or time.monotonic() > end:
                log = (server.folder / "postgres.log").read_text()[-2000:]
                pytest.fail(f"PostgreSQL did not come up: {error}\n{log}")
            time.sleep(0.05)
        else:
            return


def _wait_until_gone(folder: Path) -> None:
    """Until no backend of a killed server works on its data any more."""
    end = time.monotonic() + READY_SECONDS
    while any(_works_in(process, folder) for process in Path("/proc").glob("[0-9]*")) and time.monotonic() < end:
        time.sleep(0.02)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").resolve().is_relative_to(folder)
    except OSError:  # it has ended meanwhile
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
