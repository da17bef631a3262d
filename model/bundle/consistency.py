"""Do the files of a bundle fit one another? Digests say that they are as they were made, not that they belong together.

Whatever a look-up could stumble over is refused here, by the name of its file.
Legend: n nodes of a side (row 0 = unknown), T tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.bundle.id_index import IdIndex
from model.bundle.layout import ITEMS, PROBE, PROBE_SCORES, SERVING, SPEC, USERS
from model.errors import UserError
from model.nets.interface import FeatureCards, GraphCards
from model.nets.node_store import FeatureTable, GraphTable, SideTable

if TYPE_CHECKING:
    from model.bundle.bundle import Bundle

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.float32)

Wanted = tuple[str, Tensor, tuple[int | None, ...], int | None]
"""File without its ending, its array, the right shape (None: any size), and for codes the first one too large."""


def require_consistent(bundle: Bundle) -> None:
    """Raises UserError naming the file that does not fit the others."""
    _require_tasks(bundle)
    spec, folder = bundle.spec, bundle.folder
    groups = (0, 0) if spec.graph is None else (spec.graph.n_user_groups + 1, spec.graph.n_item_groups + 1)
    _require_side(folder / USERS, bundle.store.user_table, bundle.users, spec.n_users, spec.user)
    _require_side(folder / ITEMS, bundle.store.item_table, bundle.items, spec.n_items, spec.item)
    for name, table, other, (own, across) in (
        (USERS, bundle.store.user_table, spec.n_items, groups),
        (ITEMS, bundle.store.item_table, spec.n_users, groups[::-1]),
    ):
        _require_graph(folder / name / "graph", table.graph, spec.graph, len(table.trained_n), len(spec.tasks))
        if table.graph is not None:
            _require_arrays(folder / name / "graph", _codes_of(table.graph, len(table.trained_n), own, across, other))
    _require_probes(bundle)


def _require_tasks(bundle: Bundle) -> None:
    tasks, serving = bundle.spec.tasks, bundle.folder / SERVING
    if bundle.serving.tasks != tasks:
        raise UserError(
            f"bundle file {serving} has the tasks {', '.join(bundle.serving.tasks)};"
            f" {SPEC} has {', '.join(tasks)}: package the model anew"
        )
    if set(bundle.serving.utility) != set(tasks):
        raise UserError(f"bundle file {serving} must weigh exactly the tasks {', '.join(tasks)} in `utility`")
    given = bundle.spec.given
    if given and (
        len(given) != len(tasks) or any(task is not None and not 0 <= task < place for place, task in enumerate(given))
    ):
        raise UserError(f"bundle file {bundle.folder / SPEC}: `given` must name an earlier task, or none, for each")


def _require_side(folder: Path, table: SideTable, ids: IdIndex, nodes: int, cards: FeatureCards) -> None:
    if len(ids) != nodes - 1:
        raise UserError(f"bundle file {folder / 'id_code.npy'} knows {len(ids)} ids; {SPEC} says {nodes - 1}")
    # Each id ends with a byte of its own, and the longest one decides how much memory a look-up takes.
    if int(ids.start[0]) != 0 or not (ids.start[1:] > ids.start[:-1]).all():
        raise UserError(f"bundle file {folder / 'id_start.npy'} is not ascending; package the model anew")
    rates = 0 if table.rates is None else int(table.rates.shape[-1])
    features: FeatureTable = table.features
    if len(features.multi) != len(cards.multi):
        raise UserError(
            f"bundle folder {folder} has {len(features.multi)} files multi_*.npy; {SPEC} says {len(cards.multi)}"
        )
    wanted: list[Wanted] = [
        ("trained", table.trained_n, (nodes,), nodes),
        ("sparse", features.sparse_nF, (nodes, len(cards.sparse)), None),
        ("dense", features.dense_nG, (nodes, cards.dense - rates), None),
    ]
    wanted += [
        (f"multi_{place}", codes, (nodes, None), card)
        for place, (codes, card) in enumerate(zip(features.multi, cards.multi, strict=True))
    ]
    if table.rates is not None:
        wanted.append(("rates", table.rates, (nodes, None), None))
    _require_arrays(folder, wanted)
    for feature, card in enumerate(cards.sparse):
        _require_codes(folder / "sparse.npy", features.sparse_nF[:, feature], card)


def _require_graph(folder: Path, graph: GraphTable | None, cards: GraphCards | None, nodes: int, tasks: int) -> None:
    if (graph is None) != (cards is None):
        raise UserError(
            f"bundle folder {folder} {'is missing' if graph is None else 'is there'}; {SPEC} says otherwise"
        )
    if graph is None or cards is None:
        return
    kept1, kept2, recent = graph.macro1.shape[-1], graph.macro2.shape[-1], graph.recent.shape[-1]
    wanted: list[Wanted] = [
        ("log_count1", graph.log_count1, (nodes, kept1), None),
        ("log_count2", graph.log_count2, (nodes, kept2), None),
        ("recent_score", graph.recent_score, (nodes, recent), None),
        ("log_degree", graph.log_degree, (nodes, tasks), None),
        ("log_exposure", graph.log_exposure, (nodes,), None),
        ("dominant", graph.dominant, (nodes, tasks), None),
    ]
    if (graph.neighbour_mean is not None) != bool(cards.means) or (
        graph.task_log_count is not None
    ) != cards.task_edges:
        raise UserError(f"bundle folder {folder} has other files than the graph of {SPEC}: package the model anew")
    if graph.neighbour_mean is not None:
        wanted.append(("neighbour_mean", graph.neighbour_mean, (nodes, cards.means), None))
    if graph.task_log_count is not None:
        wanted.append(("task_log_count", graph.task_log_count, (nodes, kept1, tasks), None))
    _require_arrays(folder, wanted)


def _codes_of(graph: GraphTable, nodes: int, own: int, across: int, other: int) -> Iterator[Wanted]:
    """own, across: groups of this side and of the other, group 0 included. other: nodes of the other side."""
    yield "group_n", graph.group_n, (nodes,), own
    yield "macro1", graph.macro1, (nodes, None), across
    yield "macro2", graph.macro2, (nodes, None), own
    yield "dominant", graph.dominant, (nodes, None), max(own, across)
    yield "recent", graph.recent, (nodes, None), other


def _require_arrays(folder: Path, wanted: list[Wanted] | Iterator[Wanted]) -> None:
    for name, array, shape, end in wanted:
        path = folder / f"{name}.npy"
        fits = array.ndim == len(shape) and all(
            size is None or size == found for size, found in zip(shape, array.shape, strict=True)
        )
        if not fits:
            right = " x ".join("any" if size is None else str(size) for size in shape)
            raise UserError(f"bundle file {path} has shape {tuple(array.shape)}; {right} is right")
        if array.dtype not in (*_INTEGERS, *_FLOATS):
            raise UserError(f"bundle file {path} holds {array.dtype}; integers, float16 or float32 are right")
        if end is not None:
            _require_codes(path, array, end)


def _require_codes(path: Path, codes: Tensor, end: int) -> None:
    if codes.dtype not in _INTEGERS:
        raise UserError(f"bundle file {path} holds {codes.dtype}; integers are right")
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= end):
        raise UserError(
            f"bundle file {path} holds a code of {int(codes.min())} to {int(codes.max())}; 0 to {end - 1} are right"
        )


def _require_probes(bundle: Bundle) -> None:
    for probe in bundle.probes:
        asked = probe.request
        where = f"bundle file {bundle.folder / PROBE}: probe {asked.name!r}"
        if not asked.items:
            raise UserError(f"{where} names no item")
        foreign = next((name for name in asked.context if name not in bundle.context.accepted), None)
        if foreign is not None:
            raise UserError(f"{where} names the feature {foreign!r}, which the bundle's schema does not have")
        if not 0 <= asked.time < 2**37:  # beyond year 4000 nothing was probed
            raise UserError(f"{where} has the time {asked.time}; unix seconds are right")
        scores = probe.probability_NT
        if scores.shape[1] != len(bundle.tasks) or not np.issubdtype(scores.dtype, np.floating):
            raise UserError(f"bundle file {bundle.folder / PROBE_SCORES} does not hold one number for every task")
