"""What a person sees."""

from __future__ import annotations

import io

from rich.console import Console

from model.training.loop import Surroundings, fit
from model.training.progress import Bar, Lines, watcher_for
from tests.model.training.tiny_job import tiny_job


def test_where_there_is_no_terminal_every_evaluation_is_one_line() -> None:
    stream = io.StringIO()
    watcher = watcher_for(Console(file=stream, width=40))
    assert isinstance(watcher, Lines)
    fit(tiny_job(), Surroundings(watcher=watcher))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert all("validation AUC" in line and "rows/s" in line for line in lines)


def test_a_terminal_shows_a_bar_with_loss_speed_and_auc() -> None:
    stream = io.StringIO()
    watcher = watcher_for(Console(file=stream, width=160, force_terminal=True))
    assert isinstance(watcher, Bar)
    fit(tiny_job(), Surroundings(watcher=watcher))
    shown = stream.getvalue()
    for word in ("14/14", "loss ", "rows/s", "validation AUC"):
        assert word in shown
