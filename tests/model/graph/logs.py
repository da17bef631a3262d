"""Small logs for the tests of this room."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.data.dataset import Columns, Dataset, Interactions, Nodes
from model.data.schema import Feature, LogFiles, LogSchema, NodeFile, Task, TimeColumn

DAY = 86_400
START = 1_650_816_000  # 2022-04-24 16:00 UTC, midnight in Shanghai


def interactions(
    user: npt.ArrayLike,
    item: npt.ArrayLike,
    time: npt.ArrayLike,
    labels: npt.ArrayLike,
    observed: npt.NDArray[np.bool_] | None = None,
) -> Interactions:
    marks = np.asarray(labels, dtype=np.uint8)
    return Interactions(
        user=np.asarray(user, dtype=np.int32),
        item=np.asarray(item, dtype=np.int32),
        time=np.asarray(time, dtype=np.int64),
        labels=marks,
        observed=np.ones(marks.shape, dtype=np.bool_) if observed is None else observed,
        context=no_columns(len(marks)),
    )


def no_columns(n: int) -> Columns:
    return Columns(np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32), ())


def nodes(n: int, category: npt.NDArray[np.int32] | None = None) -> Nodes:
    columns = no_columns(n) if category is None else Columns(category[:, None], np.zeros((n, 0), np.float32), ())
    return Nodes(np.array([""] + [str(node) for node in range(1, n)]), np.ones(n, np.bool_), columns)


def schema(n_tasks: int, levels: tuple[int, ...] | None = None) -> LogSchema:
    levels = levels or tuple(range(1, n_tasks + 1))
    return LogSchema(
        name="toy",
        interactions=LogFiles(path="x", user="u", item="i", time=TimeColumn(column="t", timezone="Asia/Shanghai")),
        tasks=tuple(Task(name=f"task{t}", level=level) for t, level in enumerate(levels)),
        features=(Feature(name="category", of="item", kind="sparse", column="category"),),
        items=NodeFile(path="items", key="i"),
    )


def random_log(
    *,
    seed: int = 0,
    rows: int = 4000,
    n_users: int = 60,
    n_items: int = 40,
    days: int = 6,
    history: int = 1500,
    n_tasks: int = 3,
) -> Dataset:
    """Distinct times, one unknown item now and then, repeated pairs; the last two days are validation and test."""
    rng = np.random.default_rng(seed)

    def part(n: int, start: int, stop: int) -> Interactions:
        time = np.sort(rng.choice(np.arange(start, stop), n, replace=False))
        labels = (rng.random((n, n_tasks)) < 0.5 / np.arange(1, n_tasks + 1)).astype(np.uint8)
        observed = rng.random((n, n_tasks)) < 0.95
        user, item = rng.integers(1, n_users, n), np.minimum(rng.geometric(0.08, n), n_items) - 1
        return interactions(user, item, time, labels, observed)

    per_day = rows // days
    cut = [START + (days - 2) * DAY, START + (days - 1) * DAY, START + days * DAY]
    return Dataset(
        schema=schema(n_tasks),
        users=nodes(n_users),
        items=nodes(n_items, np.concatenate([[0], rng.integers(1, 6, n_items - 1)]).astype(np.int32)),
        history=part(history, START - 5 * DAY, START) if history else None,
        train=part(per_day * (days - 2), START, cut[0]),
        validate=part(per_day, cut[0], cut[1]),
        test=part(per_day, cut[1], cut[2]),
    )
