"""The real model server as a process on loopback, on ports that the system picks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

ROOT = Path(__file__).parents[3]
_LISTENING = re.compile(r"listening on http 127\.0\.0\.1:(\d+), grpc 127\.0\.0\.1:(\d+)")


class ServerProcess:
    """Started on entry, killed on exit where it still runs. The log is a file, so that it never blocks the server."""

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        self.log_file = folder / f"server-{time.monotonic_ns()}.log"
        self.command = [
            sys.executable,
            "-m",
            "serving.ranker.kserve_server",
            *("--bundle", str(bundle), "--http-port", "0", "--grpc-port", "0", "--scorers", "factorised"),
            *("--cache", str(folder / "cache"), "--arm", "candidate", *options),
        ]
        self.http_port = 0
        self.grpc_port = 0

    def __enter__(self) -> ServerProcess:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        deadline = time.monotonic() + 120
        while (found := _LISTENING.search(self.log)) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        self.http_port, self.grpc_port = int(found[1]), int(found[2])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def readiness(self) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.url}/v2/health/ready", timeout=10)
        return answer.status_code, json.loads(answer.content)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def wait_ready(self) -> ServerProcess:
        self.wait_for(lambda: self.readiness()[0] == 200)
        return self

    def wait_refused(self) -> str:
        """Until the first attempt to load has failed; what readiness says of it."""
        self.wait_for(lambda: "not loaded" in self.log)
        status, body = self.readiness()
        assert status == 503
        return str(body["error"])


def v2_call(user: str, items: list[str], **rest: object) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "user", "shape": [1], "datatype": "BYTES", "data": [user]},
            {"name": "items", "shape": [len(items)], "datatype": "BYTES", "data": items},
        ],
        **rest,
    }
