"""Test metrics of finished runs and their paired intervals. Legend: N test rows, T tasks, R draws, S seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.data.dataset import Dataset, Interactions
from model.data.split import day_boundaries
from model.metrics.grouped_auc import gauc
from model.metrics.interval import percentile_interval
from model.metrics.user_bootstrap import METRICS, Sample, replicates

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
MEASURED = ("auc", "gauc")


@dataclass(frozen=True)
class Measured:
    """AUC and GAUC of one contender: values [2, 1 + R, S, T], the data first, then R draws of test users.

    within_day: [S, T], the GAUC of the data where a group is not a user but a user's rows of one day.
    """

    values: Floats
    within_day: Floats

    def mean(self, metric: str) -> Floats:
        """[T], over seeds."""
        return np.asarray(self.values[MEASURED.index(metric), 0].mean(axis=0))

    def deviation(self, metric: str) -> Floats:
        """[T], standard deviation over seeds (n - 1); nan with one seed."""
        seeds = self.values[MEASURED.index(metric), 0]
        return np.asarray(seeds.std(axis=0, ddof=1)) if len(seeds) > 1 else np.full(seeds.shape[1], np.nan)

    def overall(self, metric: str) -> tuple[float, float]:
        """Mean over tasks: its mean over seeds and its deviation over seeds."""
        seeds = self.values[MEASURED.index(metric), 0].mean(axis=1)
        return float(seeds.mean()), float(seeds.std(ddof=1)) if len(seeds) > 1 else float("nan")


@dataclass(frozen=True)
class Gap:
    """Candidate minus baseline in the mean over tasks and seeds, with a 95 % interval over draws of test users."""

    difference: float
    lower: float
    upper: float


def measure(dataset: Dataset, scores_of_seed: Sequence[npt.NDArray[np.float32]], draws: int) -> Measured:
    """Every seed's AUC and GAUC per task. Equal `draws` draw equal users, so that two contenders can be paired."""
    test = dataset.test
    known, users = np.unique(test.user, return_inverse=True)
    tasks = test.labels.shape[1]
    samples = [
        Sample(test.labels[:, task], scores[:, task], users) for scores in scores_of_seed for task in range(tasks)
    ]
    values = replicates(samples, len(known), draws, seed=0, bins=2)
    by_seed = values.reshape(len(values), len(scores_of_seed), tasks, len(METRICS))
    by_day = _user_days(test, dataset.schema.interactions.time.timezone)
    within_day = np.array(
        [[gauc(test.labels[:, task], scores[:, task], by_day) for task in range(tasks)] for scores in scores_of_seed]
    )
    return Measured(np.stack([by_seed[..., METRICS.index(metric)] for metric in MEASURED]), within_day)


def _user_days(rows: Interactions, timezone: str) -> npt.NDArray[np.int64]:
    """[N], equal for rows of one user and one local day: they read the same history and the same graph."""
    days = day_boundaries(int(rows.time.min()), int(rows.time.max()), timezone)
    day = np.searchsorted(days, rows.time, side="right")
    _, group_N = np.unique(rows.user.astype(np.int64) * (len(days) + 1) + day, return_inverse=True)
    return np.asarray(group_N, dtype=np.int64)


def gap(baseline: Measured, candidate: Measured, metric: str = "auc") -> Gap:
    """Paired over users: both sides see the same draws."""
    place = MEASURED.index(metric)
    difference = candidate.values[place].mean(axis=(1, 2)) - baseline.values[place].mean(axis=(1, 2))
    lower, upper = percentile_interval(difference[1:], LEVEL)
    return Gap(float(difference[0]), float(lower), float(upper))
