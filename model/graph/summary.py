"""What a person wants to see of a graph: the heaviest macro edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.graph.macro_graph import MacroGraph


class MacroEdge(NamedTuple):
    """weight: summed score between a user group and an item group. share: of the user group's kept weight."""

    user_group: int
    item_group: int
    weight: float
    share: float


def group_table(graph: MacroGraph) -> npt.NDArray[np.float64]:
    """Kept one-hop weight of the last snapshot, [K_U + 1, K_I + 1]: C_U^T N_u1 (row and column 0: cold)."""
    hop = graph.snapshots[-1].user.hop1
    width = graph.n_item_groups + 1
    cell = graph.user_group.astype(np.int64)[:, None] * width + hop.macro
    weight = np.expm1(hop.log_count.astype(np.float64))
    flat = np.bincount(cell.ravel(), weights=weight.ravel(), minlength=(graph.n_user_groups + 1) * width)
    return flat.reshape(-1, width).astype(np.float64, copy=False)


def top_edges(graph: MacroGraph, count: int) -> list[MacroEdge]:
    """The heaviest macro edges between real groups, heaviest first."""
    table = group_table(graph)[1:, 1:]
    total = table.sum(axis=1)
    order = np.argsort(-table, axis=None, kind="stable")[:count]
    found = []
    for user, item in zip(*np.unravel_index(order, table.shape), strict=True):
        if (weight := float(table[user, item])) > 0:
            found.append(MacroEdge(int(user) + 1, int(item) + 1, weight, weight / float(total[user])))
    return found
