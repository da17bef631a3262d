"""The items' parts for the whole catalogue, computed in batches, on disk where workers can share them.

Legend: n items (row 0 = unknown), B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from model.nets.interface import Half
from model.nets.node_store import NodeStore
from serving.ranker.form import Form

BATCH = 2048


def item_nodes_parts(form: Form, store: NodeStore, item_N: Tensor) -> Half:
    """Parts of items `item_N` (int64)."""
    return form.item_parts(store.items(item_N, torch.zeros_like(item_N)))


def bytes_of(form: Form, store: NodeStore) -> int:
    """Size of the whole table."""
    one = item_nodes_parts(form, store, torch.zeros(1, dtype=torch.int64))
    return sum(part.numel() * part.element_size() for part in one.values()) * _nodes(store)


def in_memory(form: Form, store: NodeStore) -> Half:
    """The table in this process."""
    whole: Half = {}
    for first, parts in _batches(form, store):
        for name, part in parts.items():
            table = whole.setdefault(name, part.new_empty(_nodes(store), *part.shape[1:]))
            table[first : first + len(part)] = part
    return whole


def write(form: Form, store: NodeStore, folder: Path) -> None:
    """The table as one .npy a part, never whole in memory. Raises OSError where the disk is full.

    Written, not mapped: where a mapped file finds the disk full, the whole process gets SIGBUS.
    """
    with ExitStack() as opened:
        files: dict[str, BinaryIO] = {}
        for _, parts in _batches(form, store):
            for name, part in parts.items():
                values = np.ascontiguousarray(part.numpy())
                if name not in files:
                    files[name] = opened.enter_context((folder / f"{name}.npy").open("wb"))
                    shape = (_nodes(store), *values.shape[1:])
                    described = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(files[name], described)
                files[name].write(values.data)


def read(folder: Path) -> Half:
    """Maps what `write` wrote; processes share its pages. Mode "c": torch wants memory that may be written."""
    return {
        path.stem: torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False)) for path in folder.glob("*.npy")
    }


def _nodes(store: NodeStore) -> int:
    return len(store.item_table.trained_n)


@torch.inference_mode()
def _batches(form: Form, store: NodeStore) -> Iterator[tuple[int, Half]]:
    for item_B in torch.split(torch.arange(_nodes(store)), BATCH):
        yield int(item_B[0]), item_nodes_parts(form, store, item_B)
