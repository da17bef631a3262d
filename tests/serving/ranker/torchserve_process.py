"""A TorchServe on free loopback ports, started and stopped as its command does it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.ranker.torchserve.launch import ServerOptions
from serving.ranker.torchserve.readiness import why_not_ready
from serving.ranker.torchserve.tokens import token

COMMAND = "from serving.ranker.torchserve.commands import app; app()"


def require_torchserve() -> None:
    """Skips by name where the machine cannot run it."""
    pytest.importorskip("ts", reason="TorchServe is not installed")
    if shutil.which("java") is None:
        pytest.skip("TorchServe needs Java 17 (openjdk-17-jre-headless)")


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


class TorchServe:
    """Made with the archive's artifact folder; `stop` ends it as a cluster would."""

    def __init__(self, archive: Path, run: Path) -> None:
        inference, management, metrics, grpc, grpc_management = free_ports(5)
        self.options = ServerOptions(
            port=inference,
            management_port=management,
            metrics_port=metrics,
            grpc_port=grpc,
            grpc_management_port=grpc_management,
            heap_mb=128,
            settle_s=1.0,
            body_bytes=2**16,
        )
        self.run = run
        run.mkdir(parents=True)
        options = run / "options.yaml"
        options.write_text(yaml.safe_dump(self.options.model_dump(mode="json")))
        self.log = run / "log.txt"
        command = [sys.executable, "-c", COMMAND, "serve", str(archive), "--run", str(run), "--options", str(options)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
            )

    def why_not_ready(self) -> str | None:
        return why_not_ready(self.run, self.options)

    def wait(self, *, until_ready: bool = True, words: str = "", timeout_s: float = 120.0) -> str | None:
        """Until a worker is ready, or the reason why not holds `words`. Fails with the log where neither comes."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            reason = self.why_not_ready()
            if reason is None if until_ready else reason is not None and words in reason:
                return reason
            time.sleep(0.25)
        raise AssertionError(f"{self.why_not_ready()}\n{self.log.read_text()}")

    def call(
        self,
        path: str,
        body: object = None,
        *,
        port: int = 0,
        key: str | None = "",
        raw: bytes | None = None,
        timeout_s: float = 30,
    ) -> tuple[int, Any]:
        """Status and parsed body (or its text). key: "" for the inference token, None for none."""
        url = f"http://127.0.0.1:{port or self.options.port}{path}"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        if key is not None:
            request.add_header("Authorization", f"Bearer {key or token(self.run)}")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode()

    def workers(self) -> list[int]:
        """Process ids of the workers that are ready."""
        _, told = self.call("/models/ranker", port=self.options.management_port, key=token(self.run, "management"))
        return [worker["pid"] for version in told for worker in version["workers"] if worker["status"] == "READY"]

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
