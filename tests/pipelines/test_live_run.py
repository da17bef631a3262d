"""What `mgoe run` does beside a rollout: a run of its own each time, told as it turns, given up where nothing comes."""

from __future__ import annotations

import io
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from model.errors import Fault
from pipelines.live_progress import LiveLines, effect
from pipelines.live_rollout import ROLLOUT
from pipelines.live_run import Follower, Listener
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.state import Transition
from serving.rollout.status import MetricStatus, ModelRolloutStatus
from tests.serving.rollout.whole import SPEC


class Heard(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def turned(self, line: Transition) -> None:
        self.lines.append(line.reason)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "rollouts.db")
    made.create(ROLLOUT, SPEC)
    return made


def turn(seq: int, reason: str) -> Transition:
    return Transition(
        seq=seq, at=time.time(), origin="Pending", target="Ramping", step=0, weight=10, reason=reason, message="told"
    )


def test_a_rollout_that_does_not_end_is_given_up(store: SqliteStore) -> None:
    with pytest.raises(Fault, match="rollout mgoe has not ended by its deadline; it is Pending"):
        Follower(store, Heard(), 0, time.monotonic() - 1).until(lambda _: False)


def test_users_who_go_by_themselves_are_told(store: SqliteStore) -> None:
    users = subprocess.Popen(["sh", "-c", "exit 3"])
    users.wait()
    with pytest.raises(Fault, match=r"traffic ended by itself with exit code 3; traffic\.log says why"):
        Follower(store, Heard(), 0, time.monotonic() + 60).until(lambda _: False, users)


def test_every_transition_is_told_once_and_those_of_earlier_runs_never(store: SqliteStore) -> None:
    heard = Heard()
    follower = Follower(store, heard, 2, 0.0)
    history = tuple(turn(seq, reason) for seq, reason in ((1, "Old"), (2, "Older"), (3, "NewRun")))
    follower.tell(ModelRolloutStatus.model_construct(history=history))
    follower.tell(ModelRolloutStatus.model_construct(history=(*history, turn(4, "Started"))))
    assert heard.lines == ["NewRun", "Started"]
    assert [line.seq for line in follower.told] == [3, 4]


def test_an_effect_is_told_with_its_interval_or_with_what_it_lacks() -> None:
    bare = MetricStatus(name="click_units", role="Primary")
    assert effect(bare) == "click_units: too few users yet"
    half = bare.model_copy(update={"estimate": 0.081, "low": 0.004})
    assert effect(half) == "click_units +8.1% (+0.4% … open)"


def test_lines_are_whole_where_the_terminal_is_narrow() -> None:
    file = io.StringIO()
    with LiveLines(Console(file=file, width=40)) as lines:
        lines.turned(turn(1, "StepUp").model_copy(update={"message": "20 % -> 50 % [after] 17 s"}))
    assert "20 % -> 50 % [after] 17 s" in file.getvalue()
