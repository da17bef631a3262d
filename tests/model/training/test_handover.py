"""All workers go on from the checkpoint that the first one finds, whatever the others see."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from model.training.checkpoint import Checkpoints, Position, Saved
from model.training.handover import handed_over
from model.training.loop import Surroundings, fit
from model.training.world import World
from tests.model.training.tiny_job import QUICK, tiny_job

Body = Callable[[World, Path, Saved | None], None]
SAVED: Saved = (
    Position(run="run", step=7, loss_sum=1 / 3),
    {
        "weights": torch.linspace(0, 1, 6).reshape(2, 3),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "count": torch.tensor(2**40),
        "mask": torch.tensor([True, False]),
        "nothing": torch.empty(0, 4),
    },
)


def test_a_worker_alone_keeps_what_it_found() -> None:
    assert handed_over(SAVED, World()) is SAVED
    assert handed_over(None, World()) is None


@pytest.mark.parametrize("found", [SAVED, None], ids=["a checkpoint", "none"])
def test_what_the_first_finds_is_what_all_have(found: Saved | None, tmp_path: Path) -> None:
    in_group(_hand_over, tmp_path, found)
    for rank in (0, 1):
        assert (tmp_path / f"rank-{rank}").read_text() == "same"


def test_a_worker_that_sees_no_checkpoint_goes_on_from_the_firsts(tmp_path: Path) -> None:
    short = replace(tiny_job(), config=QUICK.model_copy(update={"checkpoint_every": 3, "checkpoint_unit": "steps"}))
    fit(short, Surroundings(checkpoints=Checkpoints(tmp_path / "of-0", "run", print)))
    in_group(_train, tmp_path, None)
    resumed = [json.loads((tmp_path / f"rank-{rank}").read_text()) for rank in (0, 1)]
    assert resumed[0] == resumed[1]
    assert len(resumed[0]) == 1


def in_group(body: Body, folder: Path, found: Saved | None) -> None:
    start_processes(_in_group, args=(body, folder, found), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]


def _in_group(rank: int, body: Body, folder: Path, found: Saved | None) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        body(World(rank, 2), folder, found)
    finally:
        dist.destroy_process_group()


def _hand_over(world: World, folder: Path, found: Saved | None) -> None:
    own = found if world.rank == 0 else (Position(run="another", step=99), {})
    has = handed_over(own, world)
    same = has is found is None
    if has is not None and found is not None:
        (position, tensors), (wanted, expected) = has, found
        same = position == wanted and tensors.keys() == expected.keys()
        same = same and all(torch.equal(tensors[name], expected[name]) for name in expected)
        same = same and all(tensors[name].dtype == expected[name].dtype for name in expected)
    (folder / f"rank-{world.rank}").write_text("same" if same else f"{has} is not {found}")


def _train(world: World, folder: Path, found: Saved | None) -> None:
    checkpoints = Checkpoints(folder / f"of-{world.rank}", "run", print)
    _, report = fit(tiny_job(), Surroundings(world, checkpoints))
    (folder / f"rank-{world.rank}").write_text(json.dumps(report.resumed_from))
