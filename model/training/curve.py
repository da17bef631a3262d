"""The learning curve: what every evaluation found, and which one is best so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from model.errors import UserError
from model.metrics.auc import auc
from model.metrics.log_loss import log_loss

Metric = Literal["mean_auc", "log_loss"]


class Evaluation(BaseModel):
    """One point of the curve.

    step: steps done. epoch: the same in passes over the rows. train_loss: mean since the last evaluation. auc: per task
    on the validation rows, None where they hold one class only. log_loss: weighted sum over tasks of the mean
    cross-entropy. rows_per_second: training alone, evaluation not counted. seconds: training and evaluation so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    epoch: float
    train_loss: float
    auc: dict[str, float | None]
    mean_auc: float | None
    log_loss: float
    rows_per_second: float
    seconds: float
    learning_rate: float

    def value(self, metric: Metric) -> float:
        """What early stopping compares; larger is better."""
        if metric == "log_loss":
            return -self.log_loss
        if self.mean_auc is None:
            raise UserError(
                "no task has both classes among the observed validation rows, so no AUC can be measured: "
                "widen the validation slice or set metric to log_loss"
            )
        return self.mean_auc


class TrainingReport(BaseModel):
    """What a training run did, as report.json of the model artifact keeps it.

    stopped: why it ended. best_step: the step whose weights are kept (the last one without restore_best).
    resumed_from: steps that checkpoints of earlier attempts carried in. devices: one word per worker.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    curve: tuple[Evaluation, ...]
    stopped: Literal["epochs", "patience"]
    steps: int
    steps_per_epoch: int
    best_step: int
    metric: Metric
    train_rows: int
    validation_rows: int
    parameters: int
    wall_seconds: float
    resumed_from: tuple[int, ...] = ()
    world_size: int = 1
    device: str = "cpu"

    @property
    def kept(self) -> Evaluation:
        """The evaluation of the weights that are kept."""
        return next(point for point in self.curve if point.step == self.best_step)


def measure(
    tasks: Sequence[str],
    loss_weights: Sequence[float],
    labels_NT: npt.NDArray[np.uint8],
    observed_NT: npt.NDArray[np.bool_],
    probability_NT: npt.NDArray[np.float32],
) -> tuple[dict[str, float | None], float | None, float]:
    """AUC per task, their mean over the tasks that have one, and the weighted log loss; observed cells only."""
    by_task: dict[str, float | None] = {}
    total = 0.0
    for column, task in enumerate(tasks):
        seen = observed_NT[:, column]
        labels, scores = labels_NT[seen, column], probability_NT[seen, column]
        found = auc(labels, scores)
        by_task[task] = None if math.isnan(found) else found
        if len(labels):
            total += loss_weights[column] * log_loss(labels, scores)
    known = [value for value in by_task.values() if value is not None]
    return by_task, (float(np.mean(known)) if known else None), total


def best_of(curve: Sequence[Evaluation], metric: Metric) -> int:
    """Position of the best evaluation, the earliest of equals. The curve holds at least one."""
    values = [point.value(metric) for point in curve]
    return values.index(max(values))


def out_of_patience(curve: Sequence[Evaluation], metric: Metric, patience: int) -> bool:
    """Whether the last `patience` evaluations brought no new best."""
    return bool(curve) and len(curve) - 1 - best_of(curve, metric) >= patience
