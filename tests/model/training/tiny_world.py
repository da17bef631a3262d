"""A dataset and a graph small enough to train on in a second, with labels that ids and features can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.artifact.manifest import Manifest
from model.artifact.writer import ArtifactWriter
from model.data.artifact import write_dataset
from model.data.dataset import Columns, Dataset, HistoryRates, Interactions, Nodes
from model.data.schema import LogFiles, LogSchema, Task, TimeColumn
from model.graph.artifact import write_graph
from model.graph.config import GraphConfig
from model.graph.macro_graph import MacroEdges, MacroGraph, Side, Snapshot

DAY = 86_400


def tiny_dataset(rows: int = 600, users: int = 40, items: int = 25, seed: int = 0) -> Dataset:
    """Tasks click and buy; buy is unobserved where there is no click. Six days train, one each validates and tests."""
    rng = np.random.default_rng(seed)
    schema = LogSchema(
        name="tiny",
        interactions=LogFiles(path="log.parquet", user="user", item="item", time=TimeColumn(column="time")),
        tasks=(Task(name="click", level=1), Task(name="buy", level=2, space="conditional", given="click")),
    )
    time = np.sort(rng.integers(0, 8 * DAY, rows))
    user, item = rng.integers(0, users, rows), rng.integers(0, items, rows)
    taste = 2 * rng.normal(size=users)[user] + 2 * rng.normal(size=items)[item]
    click = taste + rng.logistic(size=rows) > 0
    buy = click & (taste + rng.logistic(size=rows) > 0.5)
    whole = Interactions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time,
        labels=np.stack([click, buy], axis=1).astype(np.uint8),
        observed=np.stack([np.ones(rows, bool), click], axis=1),
        context=_columns(rng, rows, multi=False),
    )
    days = time // DAY
    return Dataset(
        schema=schema,
        users=_nodes(rng, users, "u"),
        items=_nodes(rng, items, "i"),
        history=None,
        train=whole.take(days < 6),
        validate=whole.take(days == 6),
        test=whole.take(days == 7),
        rates=HistoryRates(
            as_of=np.array([0, 3, 6]) * DAY,
            user=rng.normal(size=(3, users, 2)).astype(np.float32),
            item=rng.normal(size=(3, items, 2)).astype(np.float32),
            names=("exposures", "rate"),
        ),
    )


def tiny_graph(dataset: Dataset, seed: int = 0, trainable_from: int = 0, version: str = "g1") -> MacroGraph:
    """Two snapshots (day 2 and day 5) of noise; three user groups and four item groups."""
    rng = np.random.default_rng(seed)
    n_users, n_items = len(dataset.users), len(dataset.items)

    def snapshot(day: int) -> Snapshot:
        return Snapshot(day * DAY, _side(rng, n_users, n_items, 4, 3), _side(rng, n_items, n_users, 3, 4))

    return MacroGraph(
        config=GraphConfig(user_groups=3, item_groups=4),
        version=version,
        tasks=dataset.schema.task_names,
        user_group=rng.integers(0, 4, n_users, dtype=np.int32),
        item_group=rng.integers(0, 5, n_items, dtype=np.int32),
        n_user_groups=3,
        n_item_groups=4,
        snapshots=(snapshot(2), snapshot(5)),
        trainable_from=trainable_from,
    )


def write_artifacts(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Log and graph artifacts of the tiny world."""
    dataset = tiny_dataset(seed=seed)
    log = write_log(dataset, folder / "log")
    with ArtifactWriter(folder / "graph", "macro-graph", "test", [log.source()]) as writer:
        write_graph(tiny_graph(dataset, version=f"g{seed}"), writer.path)
    return folder / "log", folder / "graph"


def write_log(dataset: Dataset, out: Path) -> Manifest:
    """A log artifact of `dataset`."""
    with ArtifactWriter(out, "log", "test") as writer:
        write_dataset(dataset, writer.path)
    return writer.manifest


def _nodes(rng: np.random.Generator, n: int, prefix: str) -> Nodes:
    seen = rng.random(n) < 0.9
    seen[0] = False
    return Nodes(np.array(["", *(f"{prefix}{k}" for k in range(1, n))]), seen, _columns(rng, n, multi=True))


def _columns(rng: np.random.Generator, n: int, multi: bool) -> Columns:
    lists = (rng.integers(0, 5, (n, 3), dtype=np.int32),) if multi else ()
    return Columns(rng.integers(0, 6, (n, 2), dtype=np.int32), rng.normal(size=(n, 1)).astype(np.float32), lists)


def _side(rng: np.random.Generator, n: int, n_other: int, other_groups: int, own_groups: int) -> Side:
    def edges(groups: int) -> MacroEdges:
        macro = np.argsort(rng.random((n, groups)), axis=1)[:, :2].astype(np.int16) + np.int16(1)
        return MacroEdges(macro, rng.random((n, 2)).astype(np.float16), groups)

    return Side(
        hop1=edges(other_groups),
        hop2=edges(own_groups),
        dominant=rng.integers(0, other_groups + 1, (n, 2), dtype=np.int32),
        recent=rng.integers(0, n_other, (n, 3), dtype=np.int32),
        recent_score=rng.random((n, 3)).astype(np.float32),
        log_degree=rng.random((n, 2)).astype(np.float32),
        log_exposure=rng.random(n).astype(np.float32),
    )
