"""What steps tell the process that started them, as JSON lines in a file that both can reach.

Kubeflow shows a step's state by itself. On one machine kfp only says that "a task failed": this file says which step is
running, whether it was reused, how long it took, and in one line why it failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

EVENTS_VARIABLE = "MGOE_EVENTS"
"""Environment variable that names the file; without it steps tell nothing."""


class Event(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    state: Literal["started", "reused", "made", "failed"]
    seconds: float = 0.0
    message: str | None = None
    """What a failed step has to say, or a note of a finished one."""
    exit_code: int | None = None
    folder: str | None = None
    """Where the step's artifact stands."""


def tell(event: Event) -> None:
    """Append `event`, where somebody listens. One write of one line, so that parallel steps don't mix."""
    path = os.environ.get(EVENTS_VARIABLE)
    if path is None:
        return
    with Path(path).open("a") as file:
        file.write(event.model_dump_json(exclude_none=True) + "\n")


def read_events(path: Path) -> Iterator[Event]:
    """Events told so far; a line that is still being written is left for the next call."""
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            yield Event.model_validate_json(line)
