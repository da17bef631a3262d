"""Databases of the evidence tests: SQLite in a file, PostgreSQL where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from serving.evidence.engine import open_engine
from serving.evidence.migration import migrate


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of a new, empty database; the test runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'evidence.db'}"
    return str(request.getfixturevalue("postgres_database"))


@pytest.fixture
def engine(address: str) -> Iterator[Engine]:
    """A migrated database."""
    made = open_engine(address)
    migrate(made)
    yield made
    made.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated SQLite database, for what does not depend on which one it is."""
    made = quick_engine(tmp_path)
    yield made
    made.dispose()


def quick_engine(folder: Path) -> Engine:
    """A migrated SQLite database that does not wait for the disk: for tests of thousands of transactions."""
    engine = open_engine(f"sqlite:///{folder / 'evidence.db'}")

    @event.listens_for(engine, "connect")
    def _hurry(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    migrate(engine)
    return engine
