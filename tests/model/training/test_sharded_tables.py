"""Tables on several workers are those of one: the same loss curve, the same weights, the same checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.multiprocessing.spawn import ProcessRaisedException

from model.errors import UserError
from model.nets.config import MGOEConfig, ModelConfig
from model.training.assembly import make_job
from model.training.config import TrainingConfig
from model.training.curve import TrainingReport
from model.training.distributed import Order, collect_outcome
from model.training.inputs import Inputs
from model.training.loop import Surroundings, Weights, fit
from tests.model.training.tiny_job import QUICK, SMALL_MMOE
from tests.model.training.tiny_world import write_artifacts
from tests.model.training.two_workers import run_group

# Dice standardises by the moments of a worker's own rows: several workers differ there, sharded or not.
SMALL_MGOE = MGOEConfig(
    activation="relu", fusion_dim=8, tower_dim=4, inputs=SMALL_MMOE.inputs.model_copy(update={"id_dim": 8})
)


def sharded(kind: str, **more: object) -> TrainingConfig:
    options = {"table_sharding": kind, "sparse_optimiser": "rowwise_adagrad", "sparse_from_rows": 10, "epochs": 1}
    return TrainingConfig.model_validate(QUICK.model_dump() | options | more)


def order_of(folder: Path, training: TrainingConfig, model: ModelConfig) -> Order:
    log, graph = write_artifacts(folder)
    return Order(log=log, graph=graph, work=folder / "work", run="r", title="t", model=model, training=training)


def alone(order: Order) -> tuple[Weights, TrainingReport]:
    inputs = Inputs.read(order.log, order.graph)
    job = make_job(inputs.dataset, inputs.graph, order.model, order.training, torch.device("cpu"))
    return fit(job, Surroundings())


@pytest.mark.parametrize("kind", ["table_wise", "column_wise"])
@pytest.mark.parametrize("model", [SMALL_MMOE, SMALL_MGOE], ids=["mmoe", "mgoe"])
def test_two_workers_give_the_loss_curve_of_one(kind: str, model: ModelConfig, tmp_path: Path) -> None:
    pytest.importorskip("torchrec", reason="TorchRec is not installed")
    order = order_of(tmp_path, sharded(kind), model)
    wanted, wanted_report = alone(order)
    run_group(order, 2)
    weights, report = collect_outcome(order.work)
    for mine, one in zip(report.curve, wanted_report.curve, strict=True):
        assert mine.train_loss == pytest.approx(one.train_loss, rel=1e-6)
        assert mine.log_loss == pytest.approx(one.log_loss, rel=1e-5)
    assert weights.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["table_wise", "column_wise"])
def test_a_checkpoint_goes_on_in_another_number_of_workers(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torchrec", reason="TorchRec is not installed")
    training = sharded(kind, checkpoint_every=3, checkpoint_unit="steps", epochs=2)
    order = order_of(tmp_path, training, SMALL_MGOE)
    wanted, wanted_report = alone(order)
    for size, stop_at in ((2, 4), (1, 7), (3, 10)):
        with pytest.raises(ProcessRaisedException, match="StoppedError"):
            run_group(order, size, stop_at)
    run_group(order, 2)
    weights, report = collect_outcome(order.work)
    assert report.resumed_from == (3, 6, 9)
    assert [point.train_loss for point in report.curve] == pytest.approx(
        [point.train_loss for point in wanted_report.curve], rel=1e-6
    )
    for name, weight in wanted.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=1e-4)


def test_sharding_says_what_it_cannot_go_with() -> None:
    with pytest.raises(ValidationError, match="needs sparse_optimiser to be rowwise_adagrad"):
        TrainingConfig(table_sharding="table_wise")
    with pytest.raises(ValidationError, match="needs gradient_clip to be absent"):
        sharded("table_wise", gradient_clip=1.0)


def test_sharding_without_a_large_table_is_refused(tmp_path: Path) -> None:
    order = order_of(tmp_path, sharded("table_wise", sparse_from_rows=1000), SMALL_MMOE)
    with pytest.raises(UserError, match="no id table has 1000 rows"):
        alone(order)
