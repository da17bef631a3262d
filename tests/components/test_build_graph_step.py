"""The build-graph step is the first that knows both the log and the recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from components.build_graph.work import run
from components.events import EVENTS_VARIABLE, read_events
from tests.model.training.tiny_world import write_artifacts

RECIPE = """
name: small
baseline: {architecture: mmoe}
candidate: {architecture: mgoe}
bundle: {utility: {favour: 1}}
"""


def test_a_recipe_that_names_a_task_which_the_log_lacks_is_refused_before_models_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    log, _ = write_artifacts(tmp_path)
    kept, made = (SimpleNamespace(name=path.name, path=str(path), metadata={}) for path in (log, tmp_path / "made"))
    with pytest.raises(SystemExit) as end:
        run(kept, made, recipe=RECIPE, store=None)
    assert end.value.code == 2
    told = list(read_events(tmp_path / "events.jsonl"))[-1].message
    assert told == "recipe small: bundle.utility names the task 'favour', but the log's tasks are click, buy"
    assert not (tmp_path / "made").exists()
