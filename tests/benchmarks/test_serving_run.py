"""The order of the serving benchmark's parts, and what a failing one costs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from benchmarks.serving.measure import World
from benchmarks.serving.run import QUICK, Run


def test_a_part_that_fails_is_told_and_the_others_are_measured_and_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    saved: list[list[str]] = []

    def fails(*_: Any) -> None:
        raise RuntimeError("TorchServe does not serve:\nits log")

    for name in ("main", "fast_paths", "memory"):
        monkeypatch.setattr(Run, f"_{name}", lambda _, __, name=name: ran.append(name))
    monkeypatch.setattr(Run, "_torchserve", fails)
    world = cast("World", SimpleNamespace(model="mmoe"))
    run = Run([world], QUICK, tmp_path, Console(quiet=True), lambda report: saved.append(list(report.failed)))
    report = run.all()
    assert ran == ["main", "memory", "fast_paths"]
    assert report.failed == [
        "torchserve of mmoe: TorchServe does not serve:",
        "batching of mmoe: main has no figure to load a share of",
    ]
    assert saved[-1] == report.failed
    assert "torchserve of mmoe" in next(iter(report.tables())), "what was not measured stands in the title"
