"""A bundle of many more users and items than a benchmark could train: its own nodes, again and again under new ids.

The first rows stay what they were, so the bundle's probes still score as in training; sizes are those of a real one.
Legend: n nodes of a side.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from model.artifact.manifest import read_manifest
from model.artifact.writer import ArtifactWriter
from model.bundle.array_file import load_array, save_array
from model.bundle.id_index import IdIndex
from model.bundle.layout import INPUT_SPEC, ITEMS, SPEC, USERS, WEIGHTS

Array = npt.NDArray[Any]


def enlarge(bundle: Path, out: Path, users: int, items: int) -> None:
    """Writes to `out` the bundle with so many known users and items, no fewer than it has."""
    made = read_manifest(bundle)
    spec = INPUT_SPEC.validate_json((bundle / SPEC).read_bytes())
    sizes = {USERS: (spec.n_users, users + 1), ITEMS: (spec.n_items, items + 1)}
    with ArtifactWriter(out, "bundle", "benchmarks.serving", [made.source()]) as writer:
        for name in made.files:
            target = writer.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            side = name.split("/")[0]
            if side not in sizes:
                shutil.copyfile(bundle / name, target)
            elif not Path(name).name.startswith("id_"):
                save_array(target, _rows(load_array(bundle / name), *sizes[side], own=name.endswith("trained.npy")))
        for side, (had, wanted) in sizes.items():
            index = IdIndex.load(bundle / side)
            known = [index.id_of(code) for code in range(1, had)]
            IdIndex.of([*known, *(f"{side}-{place}" for place in range(had, wanted))]).save(writer.path / side)
        save_file(_weights(load_file(bundle / WEIGHTS), sizes), writer.path / WEIGHTS)
        grown = replace(spec, n_users=users + 1, n_items=items + 1)
        (writer.path / SPEC).write_bytes(INPUT_SPEC.dump_json(grown))
        writer.facts |= made.facts | {"users": users, "items": items}


def _rows(values: Array, had: int, wanted: int, own: bool = False) -> Array:
    """own: values are the rows' own indices, or 0."""
    if len(values) != had:
        return np.asarray(values)
    place_n = np.concatenate([np.arange(had), 1 + np.arange(wanted - had) % (had - 1)])
    rows: Array = values[place_n]
    return np.where(rows > 0, np.arange(wanted), 0) if own else rows


def _weights(weights: Mapping[str, Array], sizes: Mapping[str, tuple[int, int]]) -> dict[str, Array]:
    """The id embeddings grow with their side."""
    sides = {"user.id.": sizes[USERS], "item.id.": sizes[ITEMS]}
    return {
        name: next((_rows(values, *size) for part, size in sides.items() if part in name), values)
        for name, values in weights.items()
    }
