"""Server processes: started on their cores, waited for until they serve, ended; and what they hold in memory."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 300.0


@dataclass(frozen=True)
class Process:
    """One process to start, and how to ask whether it serves. grpc_port: 0 where it has none."""

    command: list[str]
    port: int
    ready: Callable[[], bool]
    environment: dict[str, str]
    grpc_port: int = 0


@dataclass(frozen=True)
class Running:
    """A server that serves, by one process or more."""

    ports: tuple[int, ...]
    grpc_ports: tuple[int, ...]
    pids: tuple[int, ...]

    def memory_mb(self, kind: str = "Pss") -> float:
        """Proportional set size of all its processes, where shared pages are counted once; or "Rss", where each counts
        them."""
        return sum(_kb_of(pid, kind) for parent in self.pids for pid in _family(parent)) / 1000


@contextmanager
def running(name: str, plan: Sequence[Process], folder: Path, cores: Sequence[int]) -> Iterator[Running]:
    """Starts the processes on these cores, waits until they serve, and ends them. Raises RuntimeError with the log."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    started: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("wb") as output:
            for process in plan:
                pinned = ["taskset", "-c", ",".join(map(str, cores)), *process.command]
                environment = {**os.environ, "OMP_NUM_THREADS": "1", **process.environment}
                started.append(
                    subprocess.Popen(
                        pinned, stdout=output, stderr=output, env=environment, start_new_session=True, cwd=Path.cwd()
                    )
                )
        _wait(name, plan, started, log)
        yield Running(
            tuple(process.port for process in plan),
            tuple(process.grpc_port for process in plan if process.grpc_port),
            tuple(process.pid for process in started),
        )
    finally:
        for child in started:
            child.terminate()
        for child in started:
            _end(child)


def answers(port: int, path: str) -> bool:
    """Whether a GET of the path answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def _wait(name: str, plan: Sequence[Process], started: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    end = time.monotonic() + START_S
    while not all(process.ready() for process in plan):
        if time.monotonic() > end or any(process.poll() is not None for process in started):
            raise RuntimeError(f"{name} does not serve:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the server and its workers alone
        process.wait(10)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in children.read_text().split()] if children.exists() else []
    # Workers are started by other threads of the frontend than its first.
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split() if int(child) not in found]
    return [pid, *(each for child in found for each in _family(child))]


def _kb_of(pid: int, kind: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")), 0)
