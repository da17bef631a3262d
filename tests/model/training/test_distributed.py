"""Several workers give what one gives, and a killed one costs at most a checkpoint interval."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from model.errors import Fault, UserError
from model.nets.config import MMoEConfig
from model.training.assembly import make_job
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport, measure
from model.training.distributed import Order, collect_outcome
from model.training.feed import MemoryFeed
from model.training.inputs import Inputs
from model.training.loop import Surroundings, Weights, fit
from model.training.prediction import predict_rows
from model.training.run import train, work_folder
from model.training.trained import REPORT
from tests.model.training.tiny_job import QUICK, SMALL_MMOE
from tests.model.training.tiny_world import write_artifacts
from tests.model.training.two_workers import run_group


def order_of(folder: Path, training: TrainingConfig, model: MMoEConfig = SMALL_MMOE) -> Order:
    log, graph = write_artifacts(folder)
    return Order(log=log, graph=graph, work=folder / "work", run="r", title="t", model=model, training=training)


def alone(order: Order) -> tuple[Weights, TrainingReport]:
    inputs = Inputs.read(order.log, order.graph)
    job = make_job(inputs.dataset, inputs.graph, order.model, order.training, torch.device("cpu"))
    return fit(job, Surroundings())


@pytest.mark.parametrize("sparse", ["none", "rowwise_adagrad"])
def test_two_workers_give_the_loss_curve_of_one(sparse: str, tmp_path: Path) -> None:
    training = QUICK.model_copy(update={"sparse_optimiser": sparse, "sparse_from_rows": 10, "epochs": 1})
    order = order_of(tmp_path, training)
    wanted, wanted_report = alone(order)
    run_group(order, 2)
    weights, report = collect_outcome(order.work)
    assert report.world_size == 2
    for mine, one in zip(report.curve, wanted_report.curve, strict=True):
        assert mine.train_loss == pytest.approx(one.train_loss, rel=1e-5)
        assert mine.auc == pytest.approx(one.auc, abs=1e-3)
    for name, weight in wanted.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-4)


def test_an_error_of_the_user_inside_a_worker_comes_back_as_itself(tmp_path: Path) -> None:
    order = order_of(tmp_path, QUICK.model_copy(update={"loss_weights": {"favour": 1.0}}))
    with pytest.raises(ProcessRaisedException):
        run_group(order, 2)
    with pytest.raises(UserError, match="'favour'"):
        collect_outcome(order.work)


def test_workers_measure_the_weights_and_moments_that_are_kept(tmp_path: Path) -> None:
    model = SMALL_MMOE.model_copy(update={"norm": "batch", "activation": "dice"})
    order = order_of(tmp_path, QUICK.model_copy(update={"epochs": 1}), model)
    run_group(order, 2)
    weights, report = collect_outcome(order.work)
    inputs = Inputs.read(order.log, order.graph)
    job = make_job(inputs.dataset, inputs.graph, model, order.training, torch.device("cpu"))
    job.architecture.load_state_dict(weights)
    scores = predict_rows(job.architecture, job.store, job.validate, torch.arange(len(job.validate)))
    labels, observed = job.validate.labels_NT.numpy(), job.validate.observed_NT.numpy()
    tasks = job.store.spec.tasks
    _, _, log_loss = measure(tasks, [1.0] * len(tasks), labels, observed, scores.numpy())
    assert report.kept.log_loss == pytest.approx(log_loss, rel=1e-6)


def test_workers_that_go_on_count_the_loss_of_all_of_them(tmp_path: Path) -> None:
    training = QUICK.model_copy(update={"epochs": 1, "checkpoint_every": 2, "checkpoint_unit": "steps"})
    order = order_of(tmp_path, training)
    _, wanted = alone(order)
    with pytest.raises(ProcessRaisedException, match="StoppedError"):
        run_group(order, 2, stop_at=3)
    run_group(order, 2)
    _, report = collect_outcome(order.work)
    assert report.resumed_from == (2,)
    assert report.curve[0].train_loss == pytest.approx(wanted.curve[0].train_loss, rel=1e-5)


def test_an_input_reaches_as_far_as_any_worker_has_seen(tmp_path: Path) -> None:
    model = SMALL_MMOE.model_copy(update={"inputs": SMALL_MMOE.inputs.model_copy(update={"standardise": True})})
    order = order_of(tmp_path, QUICK.model_copy(update={"epochs": 1, "restore_best": False}), model)
    run_group(order, 2)
    weights, _ = collect_outcome(order.work)
    inputs = Inputs.read(order.log, order.graph)
    job = make_job(inputs.dataset, inputs.graph, model, order.training, torch.device("cpu"))
    reach = torch.zeros(1)
    for rank in range(2):
        feed = MemoryFeed(job.store, job.train, batch_size=64, seed=0, loss_weights_T=torch.ones(2), rank=rank, size=2)
        for labelled in feed.epoch(0, 0):
            dense_BG = labelled.batch.context.dense_BG
            var_G, mean_G = torch.var_mean(dense_BG, dim=0)
            reach = torch.maximum(reach, ((dense_BG - mean_G) * (var_G + 1e-5).rsqrt()).abs().amax(dim=0))
    torch.testing.assert_close(weights["context.numbers.standardise.reach"], reach)


@pytest.mark.slow
@pytest.mark.ray
def test_a_fault_of_one_ray_worker_ends_them_all(tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path)
    out = tmp_path / "model"
    work_folder(out).mkdir()
    (work_folder(out) / ".step-0000000001.writing").write_text("a file where the checkpoint should be written")
    training = QUICK.model_copy(update={"world_size": 2, "checkpoint_every": 1, "checkpoint_unit": "steps"})
    with pytest.raises(Fault, match=r"checkpoint .* cannot be written"):
        train(log, graph, out, SMALL_MMOE, training, "baseline")


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_ray_worker_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    log, graph = write_artifacts(tmp_path)
    training = QUICK.model_copy(
        update={"world_size": 2, "epochs": 100, "patience": 1000, "checkpoint_every": 20, "checkpoint_unit": "steps"}
    )
    out = tmp_path / "model"
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker_after_a_checkpoint, args=(work_folder(out), killed), daemon=True)
    killer.start()
    train(log, graph, out, SMALL_MMOE, training, "baseline")
    killer.join(timeout=5)
    assert killed
    report = TrainingReport.model_validate_json((out / REPORT).read_bytes())
    assert report.steps == 100 * report.steps_per_epoch
    assert len(report.resumed_from) == 1
    assert report.resumed_from[0] >= killed[0]  # nothing older than the checkpoint that was there at the kill
    assert not work_folder(out).exists()


def kill_a_worker_after_a_checkpoint(work: Path, killed: list[int]) -> None:
    """Kills one Ray worker of this test, found by the work folder that it reported in."""
    while not (steps := sorted(work.glob("step-*"))):
        time.sleep(0.05)
    pid = int(sorted(work.glob("rank-1.pid"))[0].read_text())
    killed.append(int(steps[-1].name.removeprefix("step-")))
    os.kill(pid, signal.SIGKILL)
