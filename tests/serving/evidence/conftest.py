"""Databases of the evidence tests: SQLite in a file, PostgreSQL where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

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
