"""How `mgoe run` begins and ends its live part: the stack goes down after a fault, the pair's place is told anyway."""

from __future__ import annotations

import signal
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import model.evaluation.comparison
import pipelines.commands
import pipelines.compiling
import pipelines.local_run
import pipelines.progress
from components.events import Event
from model.artifact.writer import ArtifactWriter
from model.errors import Fault
from pipelines import live_run
from pipelines.live_rollout import ROLLOUT, LiveSettings
from pipelines.live_run import Listener, LiveInputs, run_live
from serving.rollout.sqlite_store import SqliteStore
from serving.stack.folder import StackFolder
from serving.stack.plan import Pair, StackPlan, write_plan
from serving.stack.services import port_names

SCHEMA = """
name: shop
interactions: {path: impressions, user: user_id, item: item_id, time: {column: timestamp}}
tasks: [{name: click, level: 1}]
"""
USERS = """#!/bin/sh
trap 'echo delivered; exit 0' INT
echo ready
while :; do sleep 0.02; done
"""
"""Simulated users that go when they are told to."""


@pytest.fixture
def inputs(tmp_path: Path) -> LiveInputs:
    for name in ("baseline", "candidate"):
        with ArtifactWriter(tmp_path / name, "bundle", "test") as writer:
            (writer.path / "weights").write_text(name)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "runs").mkdir()
    return LiveInputs(tmp_path / "log", tmp_path / "baseline", tmp_path / "candidate", tmp_path / "runs")


class Stack:
    """Stands for the processes: a plan while they run, and what was asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(live_run, "up", self.up)
        monkeypatch.setattr(live_run, "down", self.down)

    def up(self, folder: StackFolder, wish: Any, show: Any) -> str:
        self.asked.append("up")
        planned(folder, wish.pair)
        return "stack"

    def down(self, folder: StackFolder) -> int:
        self.asked.append("down")
        return 1


def planned(folder: StackFolder, pair: Pair) -> None:
    folder.made()
    plan = StackPlan(pair=pair)
    ports = {name: number for number, name in enumerate(port_names(plan), 20_000)}
    write_plan(folder, plan.model_copy(update={"ports": ports}))


def pair_of(inputs: LiveInputs) -> Pair:
    return Pair(baseline=inputs.baseline.as_uri(), candidate=inputs.candidate.as_uri())


@pytest.mark.parametrize("keep_up", [False, True])
def test_a_fault_ends_the_stack_whether_it_was_to_be_kept_or_not(
    inputs: LiveInputs, monkeypatch: pytest.MonkeyPatch, keep_up: bool
) -> None:
    def fault(*_: object) -> None:
        raise Fault("traffic ended by itself")

    before = signal.getsignal(signal.SIGTERM)
    stack = Stack(monkeypatch)
    monkeypatch.setattr(live_run, "_lived", fault)
    with pytest.raises(Fault, match="traffic ended by itself"):
        run_live(inputs, LiveSettings(), Listener(), keep_up=keep_up)
    assert stack.asked == ["up", "down"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_being_asked_to_end_ends_the_stack_too(inputs: LiveInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(monkeypatch)
    monkeypatch.setattr(live_run, "_lived", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        run_live(inputs, LiveSettings(), Listener())
    assert stack.asked == ["up", "down"]


@pytest.mark.parametrize(("keep_up", "asked"), [(False, ["up", "down"]), (True, ["up"])])
def test_the_stack_is_ended_after_the_decision_unless_it_is_kept(
    inputs: LiveInputs, monkeypatch: pytest.MonkeyPatch, keep_up: bool, asked: list[str]
) -> None:
    stack = Stack(monkeypatch)
    monkeypatch.setattr(live_run, "_lived", lambda *_: "decided")
    end: object = run_live(inputs, LiveSettings(), Listener(), keep_up=keep_up)
    assert end == "decided"
    assert stack.asked == asked


@pytest.mark.parametrize(("other", "asked"), [(True, ["down", "up"]), (False, ["up"])])
def test_a_stack_of_other_bundles_is_ended_first_and_one_of_the_same_goes_on(
    inputs: LiveInputs, monkeypatch: pytest.MonkeyPatch, other: bool, asked: list[str]
) -> None:
    pair = pair_of(inputs)
    planned(StackFolder.at(inputs.state), pair.model_copy(update={"candidate": "file:///old"}) if other else pair)
    stack = Stack(monkeypatch)
    monkeypatch.setattr(live_run, "_lived", lambda *_: "decided")
    run_live(inputs, LiveSettings(), Listener(), keep_up=True)
    assert stack.asked == asked


def test_each_run_is_an_attempt_of_its_own_with_its_own_experiment(inputs: LiveInputs) -> None:
    store = SqliteStore(inputs.out / "rollouts.db")
    first, second = (live_run._created(store, inputs, LiveSettings()) for _ in range(2))
    assert first != second
    assert (first[-2:], second[-2:]) == (".1", ".2")
    spec = store.read(ROLLOUT).spec
    assert spec["attempt"] == 2
    assert spec["candidate"]["bundle"] == inputs.candidate.as_uri()
    same = replace(inputs, baseline=inputs.candidate, candidate=inputs.baseline)
    assert live_run._created(store, same, LiveSettings()).endswith(".3")
    assert store.read(ROLLOUT).spec["candidate"]["bundle"] == inputs.baseline.as_uri()


def test_users_are_told_to_go_after_a_fault_and_deliver_what_they_earned(
    inputs: LiveInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.write_text(USERS)
    users.chmod(users.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(users))
    log = inputs.out / "traffic.log"
    users_come = live_run._traffic(inputs, LiveSettings(), ("http://a", "http://b"), "one")
    process = users_come.__enter__()
    until = time.monotonic() + 30
    while "ready" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    fault = Fault("no verdict")
    assert not users_come.__exit__(Fault, fault, None)  # it is raised on
    assert process.returncode == 0
    assert log.read_text() == "ready\ndelivered\n"


def test_evidence_that_does_not_answer_is_named_and_no_report_is_begun(
    inputs: LiveInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx, "get", refuse)
    with pytest.raises(Fault, match="evidence http://127"):
        live_run._write_report(inputs.report, "http://127.0.0.1:9", "one")
    assert not inputs.report.exists()


def test_where_the_pair_lies_is_told_although_its_rollout_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compared").mkdir()
    (tmp_path / "compared" / "report.html").write_text("<p>")

    def compare(_folder: object, _pipeline: object, _arguments: object, listen: Any, **_: object) -> None:
        listen(Event(step="compare", state="made", seconds=1.0, folder=str(tmp_path / "compared")))

    def fault(*_: object, **__: object) -> None:
        raise Fault("no envoy here")

    monkeypatch.setattr(pipelines.compiling, "compile_pipeline", lambda *_: "")
    monkeypatch.setattr(pipelines.local_run, "run_locally", compare)
    monkeypatch.setattr(model.evaluation.comparison, "read_comparison", lambda _: None)
    monkeypatch.setattr(pipelines.progress, "comparison_table", lambda _: "table")
    monkeypatch.setattr(pipelines.commands, "_live", fault)
    done = CliRunner().invoke(pipelines.commands.app, ["run", "--out", str(tmp_path / "runs")])
    assert isinstance(done.exception, Fault)
    told = "".join(done.stdout.split())
    for word in ("report", f"registrysqlite:///{tmp_path}/runs/registry.db", f"artifacts{tmp_path}/runs/artifacts"):
        assert word in told


def test_a_schema_without_a_log_to_read_by_it_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(pipelines.commands.app, ["run", "--schema", "nope", "--out", str(tmp_path / "runs")])
    assert "--schema nope is for a log of your own" in str(done.exception)
    assert not (tmp_path / "runs").exists()
