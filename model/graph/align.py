"""A graph whose nodes are dense ids as the graph of an ingested log: the log's nodes in the log's order.

What was counted stays: a node's edges, means and degrees are those of the whole streamed log. Nodes that the log does
not know are in them, but not among the micro neighbours, which are looked up in the log's own tables.
Legend: n nodes of the log's side, L recents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.dataset import Dataset, Nodes
from model.errors import UserError
from model.graph.macro_graph import MacroEdges, MacroGraph, Side

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Aligned:
    """graph: of the log. users, items: how many of the log's it knows."""

    graph: MacroGraph
    users: int
    items: int


def align(graph: MacroGraph, dataset: Dataset, log_digest: str) -> Aligned:
    """graph: of dense ids, node i + 1 = id i. Raises UserError where graph and log do not fit each other."""
    if graph.tasks != dataset.schema.task_names:
        raise UserError(
            f"graph {graph.version} has the tasks {', '.join(graph.tasks)}, "
            f"the log {', '.join(dataset.schema.task_names)}: both need the same in the same order"
        )
    validate_from = int(dataset.validate.time[0])
    if validate_from < graph.trainable_from:
        raise UserError(
            f"graph {graph.version}: its groups were fitted on rows before {graph.trainable_from}, "
            f"the log validates from {validate_from} on; lower fit_quantile or stream the log with an earlier split"
        )
    users, items = _rows(dataset.users, len(graph.user_group)), _rows(dataset.items, len(graph.item_group))
    for what, rows in (("user", users), ("item", items)):
        if not rows.any():
            raise UserError(f"graph {graph.version} knows no {what} of the log: both need the same ids")
    snapshots = tuple(
        replace(
            snapshot,
            user=_side(snapshot.user, users, items, len(graph.item_group)),
            item=_side(snapshot.item, items, users, len(graph.user_group)),
        )
        for snapshot in graph.snapshots
    )
    aligned = replace(
        graph,
        version=hashlib.sha256(f"{graph.version} {log_digest}".encode()).hexdigest()[: len(graph.version)],
        user_group=graph.user_group[users],
        item_group=graph.item_group[items],
        snapshots=snapshots,
    )
    return Aligned(aligned, int(np.count_nonzero(users)), int(np.count_nonzero(items)))


def _rows(nodes: Nodes, n_dense: int) -> Int64:
    """The graph's row of every node of the log [n], 0 where it knows none. Ids are whole numbers as text."""
    text = pl.Series(nodes.ids)
    number = text.cast(pl.Int64, strict=False)
    plain = (number.cast(pl.String) == text) & (number >= 0) & (number < n_dense - 1)
    rows = pl.select(pl.when(plain.fill_null(value=False)).then(number + 1).otherwise(0)).to_series()
    found: Int64 = rows.to_numpy().astype(np.int64)
    return found


def _side(side: Side, own: Int64, other: Int64, n_other: int) -> Side:
    recent, score = _recents(side, own, other, n_other)
    return Side(
        hop1=_edges(side.hop1, own),
        hop2=_edges(side.hop2, own),
        dominant=side.dominant[own],
        recent=recent,
        recent_score=score,
        log_degree=side.log_degree[own],
        log_exposure=side.log_exposure[own],
        task_log_count=None if side.task_log_count is None else side.task_log_count[own],
        neighbour_mean=None if side.neighbour_mean is None else side.neighbour_mean[own],
    )


def _edges(edges: MacroEdges, own: Int64) -> MacroEdges:
    return MacroEdges(edges.macro[own], edges.log_count[own], edges.n_macro)


def _recents(side: Side, own: Int64, other: Int64, n_other: int) -> tuple[Int32, npt.NDArray[Any]]:
    """recent and recent_score [n, L] in the log's nodes, those that it does not know left out."""
    index = np.zeros(n_other, np.int32)
    index[other] = np.arange(len(other), dtype=np.int32)
    index[0] = 0
    recent = index[side.recent[own]]
    order = np.argsort(recent == 0, axis=1, kind="stable")
    score = np.where(recent > 0, side.recent_score[own], 0).astype(np.float32)
    return np.take_along_axis(recent, order, axis=1), np.take_along_axis(score, order, axis=1)
