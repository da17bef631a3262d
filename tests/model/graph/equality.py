"""Equality of whole graphs, array by array."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from model.graph.macro_graph import MacroGraph, Snapshot


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Names of the arrays and values in which two dataclasses differ."""
    if isinstance(left, np.ndarray):
        same = left.dtype == right.dtype and np.array_equal(left, right)
        return [] if same else [path]
    if isinstance(left, tuple):
        if len(left) != len(right):
            return [path]
        return [
            name for n, pair in enumerate(zip(left, right, strict=True)) for name in differences(*pair, f"{path}[{n}]")
        ]
    if is_dataclass(left):
        names = [field.name for field in fields(left)]
        return [d for name in names for d in differences(getattr(left, name), getattr(right, name), f"{path}.{name}")]
    return [] if left == right else [path]


def graph_differences(
    left: MacroGraph, right: MacroGraph, ignore: tuple[str, ...] = ("config", "version")
) -> list[str]:
    """As `differences`, over all but some fields of the graphs."""
    names = [field.name for field in fields(left) if field.name not in ignore]
    return [d for name in names for d in differences(getattr(left, name), getattr(right, name), name)]


def same_snapshot(left: Snapshot, right: Snapshot) -> bool:
    return not differences(left, right)
