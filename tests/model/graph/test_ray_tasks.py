"""Shards as Ray tasks: any number of workers gives the bytes that threads give."""

from __future__ import annotations

import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import ray
from typer.testing import CliRunner

from model.artifact.manifest import Manifest, verify
from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.errors import Fault, UserError
from model.graph.build import build_with_pairs
from model.graph.commands import app
from model.graph.config import GraphConfig
from model.graph.events import Events, Piece
from model.graph.partition import Cut, SideName, partition, survey
from model.graph.ray_tasks import Item, RayTasks, Result, packed, ray_tasks
from model.graph.run import stream_graph
from model.graph.scratch import Scratch
from model.graph.threads import Threads
from tests.model.graph.equality import graph_differences
from tests.model.graph.rows import Rows, random_rows

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CONFIG = GraphConfig(
    user_groups=8,
    item_groups=6,
    svd_rank=4,
    top_k=5,
    features="folded",
    fold_users=200,
    fold_items=90,
    shards=5,
    snapshots="daily",
    task_edges=True,
)


@pytest.fixture(scope="module")
def crew() -> Iterator[RayTasks]:
    with ray_tasks(3) as tasks:
        yield tasks


@dataclass(frozen=True)
class Marked:
    """Work that leaves a mark, and dies by SIGKILL where a mark is missing."""

    marks: Path
    times: int

    def __call__(self, item: int) -> int:
        done = len(list(self.marks.glob(f"{item}-*")))
        (self.marks / f"{item}-{done}").touch()
        if item == 2 and done < self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item


def test_a_task_whose_worker_is_killed_is_begun_again_and_results_keep_their_order(
    crew: RayTasks, tmp_path: Path
) -> None:
    assert list(crew.in_order(Marked(tmp_path, 2), range(5))) == [0, 1, 4, 9, 16]
    assert len(list(tmp_path.glob("2-*"))) == 3


def test_a_task_whose_workers_always_die_is_a_fault(crew: RayTasks, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="a worker of the graph build died 4 times at one shard"):
        list(crew.in_order(Marked(tmp_path, 99), range(5)))


def test_what_the_work_raises_reaches_the_caller_as_it_is(crew: RayTasks) -> None:
    def refuse(item: int) -> int:
        raise UserError(f"item {item}: not this one")

    with pytest.raises(UserError, match=r"^item 0: not this one$"):
        list(crew.in_order(refuse, range(2)))


@dataclass(frozen=True)
class Deadly(Rows):
    """Rows of which a piece kills who reads its labels, once, in the middle."""

    mark: Path = Path()

    def pieces(self) -> list[Piece]:
        return [replace(piece, mark=self.mark / str(n)) for n, piece in enumerate(super().pieces())]  # type: ignore[type-var]

    def chunks(self, *, labels: bool = True) -> Iterator[Events]:
        for number, chunk in enumerate(super().chunks(labels=labels)):
            if labels and number == 2 and self.mark.name in ("1", "3") and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield chunk


def test_a_build_whose_workers_are_killed_is_the_build_of_threads(crew: RayTasks, tmp_path: Path) -> None:
    log = random_rows(4, rows=3000, users=300, items=120)
    whole = build_with_pairs(log, CONFIG, "digest")
    deadly = Deadly(log.events, log.validate_from, mark=tmp_path)
    parts = build_with_pairs(deadly, CONFIG, "digest", crew=crew)
    assert len(list(tmp_path.iterdir())) == 2
    assert graph_differences(whole.graph, parts.graph, ignore=()) == []
    assert whole.pairs is not None
    assert parts.pairs is not None
    for built, folder in ((whole, tmp_path / "a"), (parts, tmp_path / "b")):
        assert built.pairs is not None
        built.pairs.write(folder, 1, (1, 2, 3), "UTC")
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_an_artifact_of_equal_bytes(workers: int, crew: RayTasks, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "log", SyntheticConfig(rows=6_000, users=500, items=120), Layout(parts=4, bare=True))
    threads = stream_graph(str(tmp_path / "log"), tmp_path / "threads", CONFIG, updatable=True)
    tasks: Manifest = stream_graph(
        str(tmp_path / "log"), tmp_path / "tasks", CONFIG, updatable=True, crew=RayTasks(workers)
    )
    assert tasks == threads == verify(tmp_path / "tasks")


def test_workers_are_asked_for_on_the_command_line(crew: RayTasks, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "log", SyntheticConfig(rows=3_000, users=200, items=50), Layout(parts=2, bare=True))
    arguments = ["stream", str(tmp_path / "log"), "--set", "user_groups=4", "--set", "item_groups=4"]
    for name, more in (("a", []), ("b", ["--workers", "2"])):
        said = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / name), *more])
        assert said.exit_code == 0, said.output
    assert verify(tmp_path / "a").digest == verify(tmp_path / "b").digest


def test_a_message_names_arrays_that_lie_in_files_instead_of_carrying_them(tmp_path: Path) -> None:
    array = Scratch(tmp_path, shared=True).zeros((1_000_000,), np.int64)
    array[-1] = 7
    message = packed({"whole": array, "part": array[-10:]})
    assert len(message) < 2_000
    assert pickle.loads(message)["part"].tolist() == [0] * 9 + [7]  # noqa: S301 (of this test)


def test_a_message_about_a_cut_log_does_not_grow_with_nodes_shards_and_runs(tmp_path: Path) -> None:
    log, place = random_rows(4, rows=8_000, users=3_000, items=2_000), Scratch(tmp_path, shared=True)
    n_nodes: dict[SideName, int] = {"user": 1_000_000, "item": 500_000}
    loads, _ = survey(log.pieces(), n_nodes, Threads())
    messages: list[int] = []

    class Weighed(Threads):
        def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            messages.append(len(packed(work)))
            return super().in_order(work, items)

    cut = partition(log.pieces(), loads, Cut(200, 2**40, rows=1), n_tasks=3, place=place, crew=Weighed())
    messages.append(len(packed(cut)))
    assert max(messages) < 20_000


def test_a_dead_address_is_a_fault_before_ray_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Fault, match=f"Ray at {address}: nobody answers"), ray_tasks(1, address):
            pass
