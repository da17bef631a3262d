"""A real PostgreSQL on loopback, for tests and benchmarks.

It dies with the process that started it, even when that one is killed. As root it runs as the user `postgres`, since it
refuses root.

Debian 12: apt-get install -y --no-install-recommends postgresql
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

FOLDERS = tuple(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
USER = "postgres"
READY_SECONDS = 120.0


class PostgresError(RuntimeError):
    """The server does not come up; the message holds what it said."""


def missing() -> str | None:
    """What a server lacks on this machine; None: nothing."""
    if not FOLDERS or shutil.which("setpriv") is None:
        return "no real PostgreSQL: /usr/lib/postgresql/*/bin or setpriv not installed"
    return None


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

    def drop_database(self, address: str) -> None:
        """Drops a database and whoever is connected to it; after a crash the server syncs every file that is there."""
        name = address.rpartition("/")[2]
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def crash(self) -> None:
        """Kills the server and starts it again. No power cut: the system keeps what was written, synced or not."""
        self.kill()
        self.start_again()

    def kill(self) -> None:
        """Kills the server and all that work for it."""
        self.process.kill()
        self.process.wait()
        _wait_until_gone(self.folder)

    def start_again(self) -> None:
        """Serves what it left."""
        self.process = _spawn(self.binaries, self.folder, self.port)
        _wait_until_ready(self)

    def end(self) -> None:
        """Ends at once, without a checkpoint: there is nothing to save."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


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
        raise PostgresError(f"initdb failed: {done.stderr[-2000:]}")
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
                raise PostgresError(f"PostgreSQL did not come up: {error}\n{log}") from error
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
