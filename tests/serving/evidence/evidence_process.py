"""The real store as a process on loopback, on a port that the system picks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

ROOT = Path(__file__).parents[3]
_LISTENING = re.compile(r"listening on http 127\.0\.0\.1:(\d+)")
TOKENS = {"write": "write-token-0123456789", "read": "read-token-0123456789", "admin": "admin-token-0123456789"}


class StoreProcess:
    """Started on entry, killed on exit where it still runs."""

    def __init__(self, address: str, folder: Path, *options: str) -> None:
        self.log_file = folder / f"store-{time.monotonic_ns()}.log"
        self.command = [sys.executable, "-c", "import mgoe; mgoe.main()", "evidence", "serve", "--port", "0", *options]
        secrets = {f"MGOE_EVIDENCE_{role.upper()}_TOKEN": token for role, token in TOKENS.items()}
        self.environment = os.environ | secrets | {"MGOE_EVIDENCE_DATABASE": address}

    def __enter__(self) -> StoreProcess:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, env=self.environment)
        end = time.monotonic() + 240
        while (found := _LISTENING.search(self.log)) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{found[1]}"
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

    def client(self, role: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKENS[role]}"}, timeout=120)
