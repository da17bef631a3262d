"""Per-row test predictions: what every number of an evaluation is computed from. Legend: N rows, T tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import Fault

PREDICTIONS_NAME = "predictions.parquet"


@dataclass(frozen=True)
class Predictions:
    """Test rows in the log's order with their labels, scores and slices.

    user, item: int32 [N], node indices of the log. time: int64 [N], unix seconds. labels: uint8 [N, T].
    observed: bool [N, T]; other cells are not measured. scores: float32 [N, T], probabilities.
    slices: per way of slicing (`users`, `items`, `activity`, `day`) the name of every row's slice, str [N].
    """

    tasks: tuple[str, ...]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    time: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    observed: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float32]
    slices: dict[str, npt.NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.user)


def write_predictions(predictions: Predictions, folder: Path) -> None:
    """One Parquet row per test row; task columns are `label.<task>`, `observed.<task>`, `score.<task>`."""
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(len(predictions), dtype=np.int64)),
        "user": pa.array(predictions.user),
        "item": pa.array(predictions.item),
        "time": pa.array(predictions.time),
    }
    for column, task in enumerate(predictions.tasks):
        columns[f"label.{task}"] = pa.array(predictions.labels[:, column])
        columns[f"observed.{task}"] = pa.array(predictions.observed[:, column])
        columns[f"score.{task}"] = pa.array(predictions.scores[:, column])
    for way, names in predictions.slices.items():
        columns[f"slice.{way}"] = pa.array(names).dictionary_encode()
    pq.write_table(pa.table(columns), folder / PREDICTIONS_NAME, compression="zstd")


def read_predictions(folder: Path) -> Predictions:
    """What `write_predictions` wrote. Raises Fault, naming the file, where it is missing or broken."""
    path = folder / PREDICTIONS_NAME
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise Fault(f"predictions {path} cannot be read: {str(error).splitlines()[0]}") from error
    tasks = tuple(name.removeprefix("label.") for name in table.column_names if name.startswith("label."))
    ways = [name.removeprefix("slice.") for name in table.column_names if name.startswith("slice.")]
    arrays = {name: table.column(name).to_numpy() for name in table.column_names if not name.startswith("slice.")}
    return Predictions(
        tasks=tasks,
        user=arrays["user"],
        item=arrays["item"],
        time=arrays["time"],
        labels=np.stack([arrays[f"label.{task}"] for task in tasks], axis=1),
        observed=np.stack([arrays[f"observed.{task}"] for task in tasks], axis=1),
        scores=np.stack([arrays[f"score.{task}"] for task in tasks], axis=1),
        slices={way: _names(table.column(f"slice.{way}").combine_chunks()) for way in ways},
    )


def _names(encoded: Any) -> npt.NDArray[np.str_]:
    words: npt.NDArray[np.str_] = np.array(encoded.dictionary.to_pylist() or [""], dtype=np.str_)
    names: npt.NDArray[np.str_] = words[encoded.indices.to_numpy()]
    return names
