"""Every metric of one model, per task and slice, with intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from model.evaluation.comparison import MEAN, Method
from model.evaluation.config import EvaluationConfig
from model.evaluation.predictions import Predictions
from model.evaluation.slices import names_in, rows_of
from model.metrics.delong import delong
from model.metrics.interval import percentile_interval
from model.metrics.user_bootstrap import METRICS, Sample, replicates

Floats = npt.NDArray[np.float64]


class Measurement(BaseModel):
    """One metric of one task (or `mean` over all tasks) on one slice.

    value, lower, upper: None where the slice does not define them. n: rows with a known label. users: who they are of.
    positives: rows with label 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    task: str
    slice: str
    value: float | None
    lower: float | None
    upper: float | None
    level: float
    n: int
    users: int
    positives: int
    method: Method = "bootstrap"


@dataclass(frozen=True)
class Cell:
    """The rows of one task on one slice: observed, with users renumbered from 0 over all test rows."""

    task: str
    slice: str
    rows: npt.NDArray[np.int64]
    sample: Sample

    @property
    def size(self) -> tuple[int, int, int]:
        """Rows, users, positives."""
        labels, users = self.sample.labels, self.sample.users
        return len(labels), len(np.unique(users)), int(np.count_nonzero(labels))


def cells_of(predictions: Predictions) -> list[Cell]:
    """All tasks of the first slice, then of the next, and so on; in the order of `names_in`."""
    _, users = np.unique(predictions.user, return_inverse=True)
    cells = []
    for name in names_in(predictions.slices):
        inside = rows_of(name, predictions.slices, len(predictions))
        for column, task in enumerate(predictions.tasks):
            rows = np.flatnonzero(inside & predictions.observed[:, column])
            sample = Sample(predictions.labels[rows, column], predictions.scores[rows, column], users[rows])
            cells.append(Cell(task, name, rows, sample))
    return cells


def replicates_of(cells: Sequence[Cell], predictions: Predictions, config: EvaluationConfig) -> Floats:
    """[1+R, slices, tasks+1, M]: the data and R draws of users; the last task is the mean over all tasks."""
    n_users = len(np.unique(predictions.user))
    values = replicates([cell.sample for cell in cells], n_users, config.replicates, config.seed, config.bins)
    by_slice = values.reshape(len(values), -1, len(predictions.tasks), len(METRICS))
    return np.concatenate([by_slice, by_slice.mean(axis=2, keepdims=True)], axis=2)


def sizes_of(cells: Sequence[Cell], n_tasks: int) -> list[tuple[int, int, int]]:
    """Rows, users and positives in the order of `replicates_of`: per slice the tasks, then all tasks together."""
    sizes = []
    for start in range(0, len(cells), n_tasks):
        own = cells[start : start + n_tasks]
        sizes += [cell.size for cell in own]
        users = np.unique(np.concatenate([cell.sample.users for cell in own]))
        rows = np.unique(np.concatenate([cell.rows for cell in own]))
        sizes.append((len(rows), len(users), sum(cell.size[2] for cell in own)))
    return sizes


def measure(predictions: Predictions, config: EvaluationConfig) -> list[Measurement]:
    """Bootstrap measurements of every metric, task and slice, then DeLong's of AUC."""
    cells = cells_of(predictions)
    values = replicates_of(cells, predictions, config)
    lower, upper = percentile_interval(values[1:], config.level)
    names = names_in(predictions.slices)
    tasks = (*predictions.tasks, MEAN)
    sizes = sizes_of(cells, len(predictions.tasks))
    measured = [
        Measurement(
            metric=metric,
            task=task,
            slice=name,
            value=defined(values[0, i, j, k]),
            lower=defined(lower[i, j, k]),
            upper=defined(upper[i, j, k]),
            level=config.level,
            **dict(zip(("n", "users", "positives"), sizes[i * len(tasks) + j], strict=True)),
        )
        for k, metric in enumerate(METRICS)
        for i, name in enumerate(names)
        for j, task in enumerate(tasks)
    ]
    return measured + [_delong(cell, config.level) for cell in cells]


def _delong(cell: Cell, level: float) -> Measurement:
    estimate = delong(cell.sample.labels, cell.sample.scores, level)
    n, users, positives = cell.size
    return Measurement(
        metric="auc",
        task=cell.task,
        slice=cell.slice,
        value=defined(estimate.value),
        lower=defined(estimate.lower),
        upper=defined(estimate.upper),
        level=level,
        n=n,
        users=users,
        positives=positives,
        method="delong",
    )


def defined(number: float) -> float | None:
    """None in place of nan."""
    return None if np.isnan(number) else float(number)
