"""The very commands that jobs run, as processes here: workers that meet, share, and leave a model in a store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from components.train.job import ORDER_VARIABLE
from components.train.ray_job import ENTRYPOINT
from components.train.train_job import COMMAND
from model.artifact.manifest import Manifest
from model.artifact.store import FolderStore
from model.training.curve import TrainingReport
from model.training.progress import Silent
from model.training.run import train
from tests.model.training.tiny_job import QUICK, SMALL_MMOE
from tests.model.training.tiny_world import write_artifacts

BIN = Path(sys.executable).parent
KEY = "train/0123456789abcdef"


def order_of(folder: Path, **training: Any) -> dict[str, Any]:
    """Log and graph in a store of `folder`, and the order to train on them with two workers."""
    store = FolderStore(folder / "store")
    for made, key in zip(write_artifacts(folder), ("ingest/l", "build-graph/g"), strict=True):
        store.put_tree(made, key)
    config = QUICK.model_copy(update={"world_size": 2, "epochs": 1, **training})
    return {
        "log": f"{store.uri}/ingest/l",
        "graph": f"{store.uri}/build-graph/g",
        "store": store.uri,
        "key": KEY,
        "model": SMALL_MMOE.model_dump(mode="json"),
        "training": config.model_dump(mode="json"),
        "role": "baseline",
    }


def environment(order: dict[str, Any] | str, scratch: Path) -> dict[str, str]:
    """Of a pod, with the variables that Trainer sets for two workers of one node."""
    scratch.mkdir(exist_ok=True)
    text = order if isinstance(order, str) else json.dumps(order)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    trainer = {"PET_NPROC_PER_NODE": "2", "PET_NNODES": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    ours = {ORDER_VARIABLE: text, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return {**os.environ, **trainer, **ours, "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture
def short() -> Iterator[Path]:
    """A scratch folder whose path leaves room for the names of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="mgoe-") as folder:
        yield Path(folder)


@contextmanager
def torchrun(order: dict[str, Any], scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """torchrun and its workers, who end with the block."""
    group = subprocess.Popen(
        COMMAND, env=environment(order, scratch), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield group
    finally:
        # Workers are in sessions of their own: they would outlive torchrun, and go on.
        children = Path(f"/proc/{group.pid}/task/{group.pid}/children")
        workers = children.read_text().split() if children.exists() else []
        for pid in [group.pid, *map(int, workers)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        group.communicate()


def left_in(folder: Path) -> tuple[Manifest, TrainingReport]:
    store = FolderStore(folder / "store")
    manifest = store.get_tree(KEY, folder / "out")
    return manifest, TrainingReport.model_validate_json((folder / "out" / "report.json").read_bytes())


@pytest.mark.slow
def test_torchruns_workers_leave_one_model_in_the_store(tmp_path: Path) -> None:
    with torchrun(order_of(tmp_path), tmp_path / "scratch") as group:
        _, said = group.communicate(timeout=300)
    assert group.returncode == 0, said
    manifest, report = left_in(tmp_path)
    assert report.world_size == 2
    assert manifest.facts["role"] == "baseline"
    log, graph = tmp_path / "log", tmp_path / "graph"
    alone = QUICK.model_copy(update={"epochs": 1})
    train(log, graph, tmp_path / "alone", SMALL_MMOE, alone, "baseline", watcher=Silent())
    one = TrainingReport.model_validate_json((tmp_path / "alone" / "report.json").read_bytes())
    assert [point.train_loss for point in report.curve] == pytest.approx([p.train_loss for p in one.curve], rel=1e-5)


@pytest.mark.slow
def test_workers_that_were_killed_go_on_elsewhere_from_the_store(tmp_path: Path) -> None:
    order = order_of(tmp_path, epochs=100, patience=1000, checkpoint_every=10, checkpoint_unit="steps")
    store = FolderStore(tmp_path / "store")
    with torchrun(order, tmp_path / "one") as group:
        while not store.keys("checkpoints/"):
            assert group.poll() is None, group.communicate()
            time.sleep(0.05)
    reached = max(int(key.rpartition("-")[2]) for key in store.keys("checkpoints/"))
    with torchrun(order, tmp_path / "two") as group:
        _, said = group.communicate(timeout=300)
    assert group.returncode == 0, said
    _, report = left_in(tmp_path)
    assert report.resumed_from == (reached,)
    assert report.steps == 100 * report.steps_per_epoch
    assert store.keys("checkpoints/") == []


@pytest.mark.slow
def test_an_error_of_ours_is_a_line_of_the_workers(tmp_path: Path) -> None:
    order = order_of(tmp_path, loss_weights={"favour": 1.0})
    with torchrun(order, tmp_path / "scratch") as group:
        _, said = group.communicate(timeout=300)
    assert group.returncode != 0
    assert "mgoe: loss_weights names the task 'favour'" in said


@pytest.mark.slow
@pytest.mark.ray
def test_rays_workers_leave_one_model_in_the_store(tmp_path: Path, short: Path) -> None:
    done = drive(order_of(tmp_path), short)
    assert done.returncode == 0, done.stderr
    _, report = left_in(tmp_path)
    assert report.world_size == 2


@pytest.mark.slow
@pytest.mark.ray
def test_an_error_of_ours_is_the_last_line_of_rays_driver(tmp_path: Path, short: Path) -> None:
    done = drive(order_of(tmp_path, loss_weights={"favour": 1.0}, max_failures=0), short)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("mgoe: loss_weights names the task 'favour'")


def drive(order: dict[str, Any], scratch: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ENTRYPOINT.split(), env=environment(order, scratch), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("order", "told"),
    [(None, "MGOE_TRAINING_ORDER is not set"), ("{}", "is no order of this version of mgoe: log is wrong")],
)
def test_a_driver_without_an_order_says_so(tmp_path: Path, order: str | None, told: str) -> None:
    env = environment(order or "", tmp_path / "scratch")
    if order is None:
        del env[ORDER_VARIABLE]
    done = subprocess.run(ENTRYPOINT.split(), env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
