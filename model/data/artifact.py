"""The log artifact on disk: mappable .npy arrays, the schema as YAML, encoder tables as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.data.dataset import Columns, Dataset, HistoryRates, Interactions, Nodes
from model.data.encoding import Encoders, load_encoders, save_encoders
from model.data.schema_file import SCHEMA_NAME, dump_schema, load_schema
from model.errors import Fault

ENCODERS = "encoders"
_PARTS = ("history", "train", "validate", "test")

MapMode = Literal["r"] | None


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Writes `dataset` into `folder`; beside it, `write_encoders` keeps the tables that made it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCHEMA_NAME).write_text(dump_schema(dataset.schema), encoding="utf-8")
    for name, nodes in (("users", dataset.users), ("items", dataset.items)):
        _save(folder / name / "ids.npy", nodes.ids)
        _save(folder / name / "seen.npy", nodes.seen)
        _write_columns(nodes.features, folder / name)
    for part in _PARTS:
        rows: Interactions | None = getattr(dataset, part)
        if rows is not None:
            _write_interactions(rows, folder / part)
    if dataset.rates is not None:
        for name in ("as_of", "user", "item"):
            _save(folder / "rates" / f"{name}.npy", getattr(dataset.rates, name))
        (folder / "rates" / "names.json").write_text(json.dumps(dataset.rates.names), encoding="utf-8")


def read_dataset(folder: Path, mapped: bool = False) -> Dataset:
    """The dataset that `write_dataset` wrote. mapped: arrays stay on disk, read-only, and are paged in when touched.

    Raises Fault, naming the file, where one is missing or broken.
    """
    mode: MapMode = "r" if mapped else None
    schema = load_schema(folder / SCHEMA_NAME)
    users, items = (
        Nodes(
            ids=_load(folder / name / "ids.npy", mode),
            seen=_load(folder / name / "seen.npy", mode),
            features=_read_columns(folder / name, mode),
        )
        for name in ("users", "items")
    )
    return Dataset(
        schema=schema,
        users=users,
        items=items,
        history=_read_interactions(folder / "history", mode) if (folder / "history").is_dir() else None,
        train=_read_interactions(folder / "train", mode),
        validate=_read_interactions(folder / "validate", mode),
        test=_read_interactions(folder / "test", mode),
        rates=_read_rates(folder / "rates", mode) if (folder / "rates").is_dir() else None,
    )


def write_encoders(encoders: Encoders, folder: Path) -> None:
    """Keeps the encoder tables in the log artifact `folder`."""
    save_encoders(encoders, folder / ENCODERS)


def read_encoders(folder: Path) -> Encoders:
    """The encoders of the log artifact `folder`: they turn raw requests into what `read_dataset` holds."""
    return load_encoders(folder / ENCODERS, load_schema(folder / SCHEMA_NAME))


def _write_interactions(rows: Interactions, folder: Path) -> None:
    for name in ("user", "item", "time", "labels", "observed"):
        _save(folder / f"{name}.npy", getattr(rows, name))
    if rows.request is not None:
        _save(folder / "request.npy", rows.request)
    _write_columns(rows.context, folder)


def _read_interactions(folder: Path, mode: MapMode) -> Interactions:
    request = folder / "request.npy"
    return Interactions(
        user=_load(folder / "user.npy", mode),
        item=_load(folder / "item.npy", mode),
        time=_load(folder / "time.npy", mode),
        labels=_load(folder / "labels.npy", mode),
        observed=_load(folder / "observed.npy", mode),
        context=_read_columns(folder, mode),
        request=_load(request, mode) if request.exists() else None,
    )


def _write_columns(columns: Columns, folder: Path) -> None:
    _save(folder / "sparse.npy", columns.sparse)
    _save(folder / "dense.npy", columns.dense)
    for place, codes in enumerate(columns.multi):
        _save(folder / f"multi_{place}.npy", codes)


def _read_columns(folder: Path, mode: MapMode) -> Columns:
    n_multi = len(list(folder.glob("multi_*.npy")))
    return Columns(
        sparse=_load(folder / "sparse.npy", mode),
        dense=_load(folder / "dense.npy", mode),
        multi=tuple(_load(folder / f"multi_{place}.npy", mode) for place in range(n_multi)),
    )


def _read_rates(folder: Path, mode: MapMode) -> HistoryRates:
    return HistoryRates(
        as_of=_load(folder / "as_of.npy", mode),
        user=_load(folder / "user.npy", mode),
        item=_load(folder / "item.npy", mode),
        names=tuple(json.loads((folder / "names.json").read_text(encoding="utf-8"))),
    )


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    if _is_file_of(array, path):
        return  # it was written here, row by row
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # not written over: an older array may still be mapped to it
    np.save(path, array, allow_pickle=False)


def _is_file_of(array: npt.NDArray[Any], path: Path) -> bool:
    """Whether the array is the whole mapped content of the file."""
    if not isinstance(array, np.memmap) or array.filename is None or Path(array.filename) != path.absolute():
        return False
    array.flush()
    return bool(path.stat().st_size == array.offset + array.nbytes)


def _load(path: Path, mode: MapMode) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Fault(f"log artifact: {path} cannot be read: {error}") from None
    return array
