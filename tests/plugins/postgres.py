"""A real PostgreSQL for tests: started when the first test asks for it, it lives for the session.

Each worker of pytest-xdist starts its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.evidence.postgres import FOLDERS, PostgresServer, missing, start


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server. Where PostgreSQL is not installed, the test is skipped and says so; in CI it fails."""
    absent = missing()
    if absent is not None:
        require(absent)
    # Not below pytest's own folder: that one is closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="mgoe-postgres-"))
    started: list[PostgresServer] = []
    try:
        yield start(FOLDERS[0], folder, started)
    finally:
        for server in started:
            server.end()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a new, empty database, which goes with the test."""
    address = postgres_server.make_database()
    yield address
    postgres_server.drop_database(address)


def require(absent: str) -> None:
    """Skips the test for what is absent; fails it in CI, where a skip would pass for a proof."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{absent}, and this is CI")
    pytest.skip(absent)
