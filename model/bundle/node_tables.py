"""Users and items of a bundle on disk: the tables of model.nets.node_store at their latest moment, one .npy each.

Legend: n nodes of a side (row 0 = unknown).
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.bundle.array_file import Array, compact, load_array, save_array
from model.errors import UserError
from model.nets.node_store import FeatureTable, GraphTable, SideTable

_GRAPH = tuple(field.name for field in fields(GraphTable))
_OPTIONAL = ("neighbour_mean", "task_log_count")
"""Arrays of a graph that a model may do without."""


def latest(table: SideTable) -> SideTable:
    """The side at the last snapshot of the graph and the last moment of the rates."""
    nodes = len(table.trained_n)
    rates = None if table.rates is None else table.rates[-nodes:]
    graph = table.graph
    if graph is not None:
        graph = replace(graph, **{name: values[-nodes:] for name, values in _arrays_of(graph) if name != "group_n"})
    return replace(table, graph=graph, rates=rates)


def write_side(table: SideTable, folder: Path) -> None:
    """Writes a side of one moment. Look-up codes and graph values shrink where they stay exact; dense inputs do not."""
    save_array(folder / "trained.npy", compact(_array(table.trained_n)))
    save_array(folder / "sparse.npy", compact(_array(table.features.sparse_nF)))
    save_array(folder / "dense.npy", _array(table.features.dense_nG))
    for place, codes in enumerate(table.features.multi):
        save_array(folder / f"multi_{place}.npy", compact(_array(codes)))
    if table.rates is not None:
        save_array(folder / "rates.npy", _array(table.rates))
    if table.graph is not None:
        for name, values in _arrays_of(table.graph):
            save_array(folder / "graph" / f"{name}.npy", compact(_array(values)))


def read_side(folder: Path) -> SideTable:
    """Maps what `write_side` wrote; nothing is copied."""
    multi = len(list(folder.glob("multi_*.npy")))
    return SideTable(
        trained_n=_mapped(folder / "trained.npy"),
        features=FeatureTable(
            _mapped(folder / "sparse.npy"),
            _mapped(folder / "dense.npy"),
            tuple(_mapped(folder / f"multi_{place}.npy") for place in range(multi)),
        ),
        graph=_read_graph(folder / "graph") if (folder / "graph").is_dir() else None,
        rates=_mapped(folder / "rates.npy") if (folder / "rates.npy").is_file() else None,
    )


def _read_graph(folder: Path) -> GraphTable:
    paths = {name: folder / f"{name}.npy" for name in _GRAPH}
    missing = next((path for name, path in paths.items() if name not in _OPTIONAL and not path.is_file()), None)
    if missing is not None:
        raise UserError(f"bundle file {missing} is missing; package the model anew")
    found: dict[str, Any] = {name: _mapped(path) if path.is_file() else None for name, path in paths.items()}
    return GraphTable(**found)


def _arrays_of(graph: GraphTable) -> list[tuple[str, Tensor]]:
    """The arrays that the graph has, by name."""
    return [(name, values) for name in _GRAPH if (values := getattr(graph, name)) is not None]


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array


def _mapped(path: Path) -> Tensor:
    array = load_array(path)
    try:
        return torch.from_numpy(array)
    except TypeError:
        raise UserError(f"bundle file {path} holds {array.dtype}; numbers are right") from None
