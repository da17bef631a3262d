"""A log and a macro graph of noise, as large as asked: speed does not depend on what is in them."""

from __future__ import annotations

import numpy as np

from model.data.dataset import Columns, Dataset, Interactions, Nodes
from model.data.schema import LogFiles, LogSchema, Task, TimeColumn
from model.graph.config import GraphConfig
from model.graph.macro_graph import MacroEdges, MacroGraph, Side, Snapshot

TASKS = 4
FIELDS = 4
"""Sparse features of a user, of an item, and of the context."""
VOCABULARY = 1_000
KEPT = 64
RECENT = 20
START = 1_000_000


def noise_log(rows: int, users: int, items: int, seed: int = 0) -> Dataset:
    """Nine tenths of the rows train, the rest validates; every label is observed."""
    rng = np.random.default_rng(seed)
    schema = LogSchema(
        name="noise",
        interactions=LogFiles(path="log.parquet", user="user", item="item", time=TimeColumn(column="time")),
        tasks=tuple(Task(name=f"task{t}", level=t + 1) for t in range(TASKS)),
    )
    whole = Interactions(
        user=rng.integers(1, users, rows, dtype=np.int32),
        item=rng.integers(1, items, rows, dtype=np.int32),
        time=START + np.arange(rows, dtype=np.int64),
        labels=(rng.random((rows, TASKS)) < 0.3).astype(np.uint8),
        observed=np.ones((rows, TASKS), bool),
        context=_columns(rng, rows),
    )
    train = rows * 9 // 10
    return Dataset(
        schema=schema,
        users=_nodes(rng, users),
        items=_nodes(rng, items),
        history=None,
        train=whole.take(slice(0, train)),
        validate=whole.take(slice(train, None)),
        test=whole.take(slice(rows, None)),
        rates=None,
    )


def noise_graph(dataset: Dataset, groups: int, seed: int = 0) -> MacroGraph:
    """One snapshot from before the log; at most KEPT macro edges a node and hop."""
    rng = np.random.default_rng(seed)
    users, items = len(dataset.users), len(dataset.items)
    return MacroGraph(
        config=GraphConfig(user_groups=groups, item_groups=groups),
        version="noise",
        tasks=dataset.schema.task_names,
        user_group=rng.integers(0, groups + 1, users, dtype=np.int32),
        item_group=rng.integers(0, groups + 1, items, dtype=np.int32),
        n_user_groups=groups,
        n_item_groups=groups,
        snapshots=(Snapshot(0, _side(rng, users, items, groups), _side(rng, items, users, groups)),),
        trainable_from=0,
    )


def _nodes(rng: np.random.Generator, n: int) -> Nodes:
    return Nodes(np.arange(n).astype(str), np.arange(n) > 0, _columns(rng, n))


def _columns(rng: np.random.Generator, n: int) -> Columns:
    codes = rng.integers(0, VOCABULARY, (n, FIELDS), dtype=np.int32)
    codes[0] = VOCABULARY - 1  # so that tables are as large in a short log
    return Columns(codes, np.zeros((n, 0), np.float32), ())


def _side(rng: np.random.Generator, n: int, others: int, groups: int) -> Side:
    def edges() -> MacroEdges:
        kept = min(KEPT, groups)
        first = rng.integers(0, groups, (n, 1))
        macro = (first + np.arange(kept) * max(1, groups // kept)) % groups + 1  # distinct in a row
        return MacroEdges(macro.astype(np.int16), np.log1p(rng.integers(1, 50, (n, kept))).astype(np.float16), groups)

    return Side(
        hop1=edges(),
        hop2=edges(),
        dominant=rng.integers(0, groups + 1, (n, TASKS), dtype=np.int32),
        recent=rng.integers(0, others, (n, RECENT), dtype=np.int32),
        recent_score=rng.random((n, RECENT), dtype=np.float32),
        log_degree=rng.random((n, TASKS), dtype=np.float32),
        log_exposure=rng.random(n, dtype=np.float32),
    )
