"""A graph whose degrees grow between training and validation rows is told of; daily snapshots are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from model.data.dataset import Dataset
from model.graph.build import build
from model.graph.config import GraphConfig
from model.nets.config import InputOptions, MMoEConfig
from model.training.assembly import make_job
from model.training.config import TrainingConfig
from model.training.shift import shift_of_degrees
from tests.model.graph.logs import random_log


def told(dataset: Dataset, snapshots: Literal["single", "daily"], degrees: bool = True) -> str | None:
    graph = build(dataset, GraphConfig(user_groups=3, item_groups=3, svd_rank=3, snapshots=snapshots), "digest")
    model = MMoEConfig(inputs=InputOptions(degrees=degrees, groups=True))
    job = make_job(dataset, graph, model, TrainingConfig(), torch.device("cpu"))
    return shift_of_degrees(job.architecture, job.store, job.train, job.validate)


def log_whose_history_lacks_a_task() -> Dataset:
    dataset = random_log(rows=6000, days=30, history=4000)
    history = dataset.history
    assert history is not None
    observed = history.observed.copy()
    observed[:, 0] = False
    return replace(dataset, history=replace(history, observed=observed, labels=history.labels * observed))


def test_a_task_that_only_later_snapshots_count_is_named() -> None:
    warning = told(log_whose_history_lacks_a_task(), "single")
    assert warning is not None
    assert "user task0" in warning
    assert "item task0" in warning
    assert "daily snapshots" in warning


def test_daily_snapshots_and_models_without_degrees_are_not_warned_of() -> None:
    dataset = log_whose_history_lacks_a_task()
    assert told(dataset, "daily") is None
    assert told(dataset, "single", degrees=False) is None
    assert np.unique(dataset.train.time // 86_400).size > 20
