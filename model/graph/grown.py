"""Snapshots for more nodes than they were counted with: those that came later have empty rows."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from model.data.mapped_pages import drop_pages
from model.graph.macro_graph import MacroEdges, Side, Snapshot
from model.graph.partition import SideName
from model.graph.scratch import Scratch

Array = npt.NDArray[Any]
STRIP = 1 << 16
"""Rows that are carried over at a time."""


def grown_snapshot(snapshot: Snapshot, n_nodes: dict[SideName, int], place: Scratch) -> Snapshot:
    """The snapshot for n_nodes of each side."""
    user, item = (_grown_side(getattr(snapshot, side), n, place) for side, n in n_nodes.items())
    return Snapshot(snapshot.as_of, user, item)


def _grown_side(side: Side, n: int, place: Scratch) -> Side:
    def grown(array: Array) -> Array:
        if len(array) == n:
            return array
        longer = place.zeros((n, *array.shape[1:]), array.dtype)
        carry_over(array, longer, place)
        return longer

    def edges(of: MacroEdges) -> MacroEdges:
        return MacroEdges(grown(of.macro), grown(of.log_count), of.n_macro)

    return Side(
        hop1=edges(side.hop1),
        hop2=edges(side.hop2),
        dominant=grown(side.dominant),
        recent=grown(side.recent),
        recent_score=grown(side.recent_score),
        log_degree=grown(side.log_degree),
        log_exposure=grown(side.log_exposure),
        task_log_count=None if side.task_log_count is None else grown(side.task_log_count),
    )


def carry_over(old: Array, new: Array, place: Scratch) -> None:
    """Copies the old rows to the front of the new ones; mapped memory goes back to the system as it goes."""
    for start in range(0, len(old), STRIP):
        rows = slice(start, min(start + STRIP, len(old)))
        new[rows] = old[rows]
        drop_pages(old)
        place.release()
