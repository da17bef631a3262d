"""A world of rollouts, and an open console over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.console.server import Entrance
from tests.serving.console.console_under_test import Console, console_over
from tests.serving.console.console_world import ConsoleWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ConsoleWorld]:
    """No rollout yet."""
    made = ConsoleWorld(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def console(world: ConsoleWorld) -> Console:
    """Everybody may steer."""
    return console_over(world, Entrance())
