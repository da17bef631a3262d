"""Checkpoints in a store: another machine goes on from them, and a store that fails stops no training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.artifact.manifest import Manifest, read_manifest
from model.artifact.store import FolderStore, open_store
from model.errors import Fault
from model.training.checkpoint import Checkpoints, Position
from model.training.mirror import Mirror
from model.training.progress import Silent
from model.training.run import train
from tests.model.training.tiny_job import QUICK, SMALL_MMOE
from tests.model.training.tiny_world import write_artifacts

EVERY_THREE = QUICK.model_copy(update={"checkpoint_every": 3, "checkpoint_unit": "steps"})
KILLED_AT_EVALUATION = 2
KILLED = f"""
import os, signal, sys
from pathlib import Path
from model.training.progress import Silent
from model.training.run import train
from tests.model.training.test_mirror import EVERY_THREE, SMALL_MMOE

class Killed(Silent):
    seen = 0
    def evaluated(self, evaluation):
        self.seen += 1
        if self.seen == {KILLED_AT_EVALUATION}:
            os.kill(os.getpid(), signal.SIGKILL)

log, graph, out = map(Path, sys.argv[1:4])
train(log, graph, out, SMALL_MMOE, EVERY_THREE, "baseline", watcher=Killed(), store=sys.argv[4])
"""


class DownStore(FolderStore):
    """Answers to nothing."""

    def put_tree(self, folder: Path, key: str) -> Manifest:
        raise Fault("S3 at http://127.0.0.1:1 does not answer")

    def keys(self, prefix: str = "") -> list[str]:
        raise Fault("S3 at http://127.0.0.1:1 does not answer")


def tensors(step: int) -> dict[str, Tensor]:
    return {"weights": torch.full((3,), float(step))}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def machine(tmp_path: Path, said: list[str]) -> Callable[..., Checkpoints]:
    """Checkpoints of one run on a machine of that name, all with one store."""

    def of(name: str, run: str = "run") -> Checkpoints:
        mirror = Mirror(FolderStore(tmp_path / "store"), run, said.append)
        return Checkpoints(tmp_path / name, run, said.append, mirror)

    return of


def save(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save(Position(run=checkpoints.run, step=step), tensors(step))


def step_of(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.latest()
    return None if found is None else found[0].step


def test_another_machine_goes_on_from_the_newest_and_the_store_keeps_two(
    machine: Callable[..., Checkpoints], tmp_path: Path
) -> None:
    save(machine("one"), 5, 10, 15)
    assert step_of(machine("two")) == 15
    store = FolderStore(tmp_path / "store")
    assert store.keys() == ["checkpoints/run/step-0000000010", "checkpoints/run/step-0000000015"]
    assert step_of(machine("two", run="other")) is None


def test_the_one_before_is_taken_where_the_newest_is_broken(
    machine: Callable[..., Checkpoints], tmp_path: Path, said: list[str]
) -> None:
    save(machine("one"), 5, 10)
    broken = tmp_path / "store" / "checkpoints" / "run" / "step-0000000010" / "tensors.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert step_of(machine("two")) == 5
    assert len(said) == 1
    assert "step-0000000010" in said[0]


def test_a_whole_one_in_the_store_is_taken_where_the_same_one_here_is_broken(
    machine: Callable[..., Checkpoints], tmp_path: Path, said: list[str]
) -> None:
    here = machine("one")
    save(here, 5, 10)
    broken = tmp_path / "one" / "step-0000000010" / "tensors.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert step_of(here) == 10
    assert len(said) == 1
    assert "step-0000000010" in said[0]


def test_a_later_one_of_another_run_here_does_not_hide_the_stores(
    machine: Callable[..., Checkpoints], tmp_path: Path, said: list[str]
) -> None:
    save(machine("one"), 5, 10)
    save(Checkpoints(tmp_path / "two", "other", said.append), 20)
    assert step_of(machine("two")) == 10
    assert len(said) == 1
    assert "belongs to another run" in said[0]


def test_what_this_machine_has_is_not_fetched_again(machine: Callable[..., Checkpoints], tmp_path: Path) -> None:
    here = machine("one")
    save(here, 5, 10)
    newest = tmp_path / "one" / "step-0000000010" / "state.json"
    before = newest.stat()
    assert step_of(here) == 10
    assert newest.stat() == before


def test_a_save_looks_at_its_own_run_and_not_at_all_of_the_store(
    machine: Callable[..., Checkpoints], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[Path] = []
    rglob = Path.rglob

    def seen(self: Path, pattern: str) -> Iterator[Path]:
        walked.append(self)
        return rglob(self, pattern)

    here = machine("one")
    monkeypatch.setattr(Path, "rglob", seen)
    save(here, 5, 10, 15)
    store = tmp_path / "store"
    looked_at = [folder for folder in walked if folder.is_relative_to(store)]
    assert looked_at
    assert [folder for folder in looked_at if not folder.is_relative_to(store / "checkpoints" / "run")] == []


def test_nothing_is_left_when_the_run_is_over(machine: Callable[..., Checkpoints], tmp_path: Path) -> None:
    here = machine("one")
    save(here, 5, 10)
    here.clear()
    assert FolderStore(tmp_path / "store").keys() == []


def test_a_store_that_is_down_stops_no_training_but_is_not_taken_for_empty(tmp_path: Path, said: list[str]) -> None:
    down = Checkpoints(tmp_path / "work", "run", said.append, Mirror(DownStore(tmp_path), "run", said.append))
    save(down, 5)
    assert said == ["checkpoint step-0000000005 is on this machine alone: S3 at http://127.0.0.1:1 does not answer"]
    with pytest.raises(Fault, match="does not answer"):
        down.latest()


def test_checkpoints_stay_until_the_artifact_is_published(tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path)
    out, store = tmp_path / "out" / "model", tmp_path / "store"
    kept: list[list[str]] = []

    def away(folder: Path) -> None:
        assert read_manifest(folder).kind == "model"
        kept.append(FolderStore(store).keys("checkpoints/"))
        raise Fault("S3 at http://127.0.0.1:1 does not answer")

    with pytest.raises(Fault, match="does not answer"):
        train(log, graph, out, SMALL_MMOE, EVERY_THREE, "baseline", watcher=Silent(), store=str(store), publish=away)
    assert len(kept) == 1
    assert len(kept[0]) == 2
    assert FolderStore(store).keys("checkpoints/") == kept[0]


def test_a_checkpoint_of_other_code_is_not_gone_on_from(tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path)

    def away(folder: Path) -> None:
        raise Fault("away")

    for name, code, resumed in (("one", "a", []), ("two", "b", []), ("three", "a", [12])):
        out = tmp_path / name / "model"
        with pytest.raises(Fault, match="away"):
            train(
                log,
                graph,
                out,
                SMALL_MMOE,
                EVERY_THREE,
                "baseline",
                watcher=Silent(),
                store=str(tmp_path / "store"),
                publish=away,
                code=code,
            )
        assert json.loads((out / "report.json").read_text())["resumed_from"] == resumed


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('s3_bucket')}/team"


def test_a_step_that_was_killed_goes_on_elsewhere_and_gives_the_same_weights(store_uri: str, tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path)
    whole = train(log, graph, tmp_path / "whole", SMALL_MMOE, EVERY_THREE, "baseline", watcher=Silent())
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(log), str(graph), str(tmp_path / "one" / "model"), store_uri],
        check=False,
        env=dict(os.environ),
    )
    assert killed.returncode == -signal.SIGKILL
    elsewhere = tmp_path / "two" / "model"
    resumed = train(log, graph, elsewhere, SMALL_MMOE, EVERY_THREE, "baseline", watcher=Silent(), store=store_uri)
    report = json.loads((elsewhere / "report.json").read_text())
    assert report["resumed_from"] == [6]  # the last multiple of three before the second evaluation
    assert resumed.files["weights.safetensors"] == whole.files["weights.safetensors"]
    assert read_manifest(elsewhere) == resumed
    assert open_store(store_uri).keys("checkpoints/") == []
