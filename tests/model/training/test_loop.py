"""The loop: deterministic, resumable without a trace, and it stops when validation says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.errors import Fault, UserError
from model.training.checkpoint import Checkpoints
from model.training.config import TrainingConfig
from model.training.curve import Evaluation, TrainingReport
from model.training.loop import Surroundings, Weights, fit
from model.training.objective import loss_weights
from model.training.progress import Silent
from model.training.tracking import NullTracker
from tests.model.training.tiny_job import QUICK, tiny_job
from tests.model.training.tiny_world import tiny_dataset

OPTIONS = {
    "adam": QUICK,
    "adamw, cosine, clipping, average": QUICK.model_copy(
        update={
            "optimiser": "adamw",
            "schedule": "cosine",
            "warmup_steps": 3,
            "gradient_clip": 1.0,
            "ema_decay": 0.9,
        }
    ),
    "row-wise adagrad": QUICK.model_copy(update={"sparse_optimiser": "rowwise_adagrad", "sparse_from_rows": 10}),
    "sparse adam": QUICK.model_copy(update={"sparse_optimiser": "sparse_adam", "sparse_from_rows": 10}),
    "adagrad": QUICK.model_copy(update={"optimiser": "adagrad"}),
    "bf16": QUICK.model_copy(update={"precision": "bf16"}),
}


class KilledError(Exception):
    """Stands for a kill."""


class KillAt(Silent):
    """Raises after so many steps, as a killed process would end there."""

    def __init__(self, step: int) -> None:
        self._step = step

    def stepped(self, step: int, loss: float | None, rows_per_second: float) -> None:
        if step == self._step:
            raise KilledError


class Heard(Silent):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Kept(NullTracker):
    """Keeps the steps of what it is told."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def evaluated(self, evaluation: Evaluation) -> None:
        self.steps.append(evaluation.step)


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def points(report: TrainingReport) -> list[Evaluation]:
    """The curve without what the clock decides."""
    return [point.model_copy(update={"rows_per_second": 0.0, "seconds": 0.0}) for point in report.curve]


@pytest.mark.parametrize("config", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_resumed_run_ends_bit_identical_to_an_uninterrupted_one(config: TrainingConfig, tmp_path: Path) -> None:
    config = config.model_copy(update={"checkpoint_every": 2, "checkpoint_unit": "steps"})
    whole, whole_report = fit(tiny_job(config), Surroundings())
    checkpoints = Checkpoints(tmp_path / "work", "run", print)
    for step in (3, 7, 11):
        with pytest.raises(KilledError):
            fit(tiny_job(config), Surroundings(checkpoints=checkpoints, watcher=KillAt(step)))
    resumed, report = fit(tiny_job(config), Surroundings(checkpoints=checkpoints))
    assert report.resumed_from == (2, 6, 10)
    assert same(whole, resumed)
    assert points(whole_report) == points(report)


def test_a_resumed_run_tells_its_tracker_the_whole_curve(tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"checkpoint_every": 2, "checkpoint_unit": "steps"})
    checkpoints = Checkpoints(tmp_path / "work", "run", print)
    with pytest.raises(KilledError):
        fit(tiny_job(config), Surroundings(checkpoints=checkpoints, watcher=KillAt(9)))
    tracker = Kept()
    fit(tiny_job(config), Surroundings(checkpoints=checkpoints, tracker=tracker))
    assert tracker.steps == [4, 7, 11, 14]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, _ = fit(tiny_job(), Surroundings())
    torch.manual_seed(12345)  # what torch drew before must not matter
    torch.rand(7)
    second, _ = fit(tiny_job(), Surroundings())
    other, _ = fit(tiny_job(QUICK.model_copy(update={"seed": 1})), Surroundings())
    assert same(first, second)
    assert not same(first, other)


def test_training_leaves_torchs_random_state_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fit(tiny_job(), Surroundings())
    assert torch.equal(torch.rand(3), wanted)


def test_training_learns_more_than_chance() -> None:
    _, report = fit(tiny_job(QUICK.model_copy(update={"epochs": 6}), dropout=0.0), Surroundings())
    assert report.curve[-1].train_loss < report.curve[0].train_loss
    best = report.kept.mean_auc
    assert best is not None
    assert best > 0.6


def test_it_stops_when_patience_is_out_and_keeps_the_best_weights() -> None:
    config = QUICK.model_copy(update={"epochs": 40, "patience": 3, "learning_rate": 0.05})
    job = tiny_job(config)
    weights, report = fit(job, Surroundings())
    values = [point.mean_auc for point in report.curve]
    assert report.stopped == "patience"
    assert values.index(report.kept.mean_auc) == len(values) - 4
    assert report.kept.mean_auc == max(value for value in values if value is not None)
    until_best = config.model_copy(update={"restore_best": False, "epochs": 40})
    straight, _ = fit(tiny_job(until_best), Surroundings(watcher=Silent()))
    assert not same(weights, straight)  # those of the last step are others


def test_the_learning_curve_has_a_point_every_half_epoch_and_at_the_end() -> None:
    _, report = fit(tiny_job(), Surroundings())
    assert report.steps_per_epoch == 7
    assert [point.step for point in report.curve] == [4, 7, 11, 14]


def test_a_broken_checkpoint_costs_a_line_and_falls_back_to_the_one_before(tmp_path: Path) -> None:
    config = QUICK.model_copy(update={"checkpoint_every": 2, "checkpoint_unit": "steps"})
    whole, _ = fit(tiny_job(config), Surroundings())
    heard = Heard()
    checkpoints = Checkpoints(tmp_path / "work", "run", heard.say)
    with pytest.raises(KilledError):
        fit(tiny_job(config), Surroundings(checkpoints=checkpoints, watcher=KillAt(7)))
    newest = sorted((tmp_path / "work").glob("step-*"))[-1] / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed, report = fit(tiny_job(config), Surroundings(checkpoints=checkpoints))
    assert report.resumed_from == (4,)
    assert len(heard.lines) == 1
    assert "step-0000000006" in heard.lines[0]
    assert same(whole, resumed)


def test_weights_of_unobserved_cells_do_not_move() -> None:
    job = tiny_job()
    blind = job.train.observed_NT.clone()
    blind[:, 1] = False
    flipped = job.train.labels_NT.clone()
    flipped[:, 1] = 1 - flipped[:, 1]
    first, _ = fit(replace(job, train=replace(job.train, observed_NT=blind)), Surroundings())
    again = tiny_job()
    second, _ = fit(replace(again, train=replace(again.train, observed_NT=blind, labels_NT=flipped)), Surroundings())
    assert same(first, second)


def test_a_loss_that_is_not_finite_is_a_fault_in_one_line() -> None:
    with pytest.raises(Fault, match="lower learning_rate"):
        fit(tiny_job(QUICK.model_copy(update={"optimiser": "sgd", "learning_rate": 1e30})), Surroundings())


def test_a_loss_weight_of_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match="the task 'favour'"):
        loss_weights(("click", "buy"), QUICK.model_copy(update={"loss_weights": {"favour": 1.0}}))


def test_a_task_of_weight_zero_does_not_train() -> None:
    blind = QUICK.model_copy(update={"loss_weights": {"buy": 0.0}})
    job = tiny_job(blind)
    flipped = job.train.labels_NT.clone()
    flipped[:, 1] = 1 - flipped[:, 1]
    first, _ = fit(job, Surroundings())
    again = tiny_job(blind)
    second, _ = fit(replace(again, train=replace(again.train, labels_NT=flipped)), Surroundings())
    assert same(first, second)


def test_an_empty_slice_is_refused() -> None:
    job = tiny_job()
    none = job.store.rows(tiny_dataset().train.take(slice(0)))
    with pytest.raises(UserError, match="training slice holds no rows"):
        fit(replace(job, train=none), Surroundings())
    with pytest.raises(UserError, match="validation slice holds no rows"):
        fit(replace(job, validate=none), Surroundings())


@pytest.mark.slow
def test_compiled_training_runs_and_agrees_with_eager() -> None:
    eager, _ = fit(tiny_job(dropout=0.0), Surroundings())
    compiled, _ = fit(tiny_job(QUICK.model_copy(update={"compile": True}), dropout=0.0), Surroundings())
    for name, weight in eager.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-2, atol=1e-3)
