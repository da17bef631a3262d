"""The encoded log that every later step reads: arrays only, no I/O.

Index 0 of every node table and every sparse vocabulary is kept for the unknown and for padding.
Legend: N rows, T tasks, n nodes (row 0 included), F sparse features, G dense features, M values of a multi-valued one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.data.schema import LogSchema

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Selection = slice | Int64 | Bool
"""Which rows: a slice, positions, or a mask."""


@dataclass(frozen=True)
class Columns:
    """Encoded features of one owner (user, item or context), row by row.

    sparse: int32 [N, F], codes, 0 = unknown. dense: float32 [N, G], transformed and standardised, 0 where missing.
    multi: one int32 [N, M_f] per multi-valued feature, codes, padded with 0 on the right.
    """

    sparse: Int32
    dense: Float32
    multi: tuple[Int32, ...]

    def take(self, rows: Selection) -> Columns:
        """Those rows; of a slice no copy."""
        return Columns(self.sparse[rows], self.dense[rows], tuple(codes[rows] for codes in self.multi))


@dataclass(frozen=True)
class Nodes:
    """All users or all items that the log knows before validation begins. Row 0 stands for whatever is unknown.

    ids: raw ids as strings, ids[0] == "". seen: bool [n], True where history or the training days hold an impression
    of the node: only such rows have a trained id embedding. features: by node index.
    """

    ids: npt.NDArray[np.str_]
    seen: Bool
    features: Columns

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Interactions:
    """Impressions, oldest first (equal times keep file order).

    user, item: int32 [N], node indices. time: int64 [N], unix seconds; history without times carries the second before
    the labelled part begins. labels: uint8 [N, T]. observed: bool [N, T], False where the label of a task is unknown
    (history that lacks the task, conditional tasks outside their space): such a cell is not trained on nor measured.
    context: per-row features. request: int64 [N] or None, equal for the rows of one request.
    """

    user: Int32
    item: Int32
    time: Int64
    labels: UInt8
    observed: Bool
    context: Columns
    request: Int64 | None = None

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Selection) -> Interactions:
        """Those rows; of a slice no copy."""
        return Interactions(
            user=self.user[rows],
            item=self.item[rows],
            time=self.time[rows],
            labels=self.labels[rows],
            observed=self.observed[rows],
            context=self.context.take(rows),
            request=None if self.request is None else self.request[rows],
        )


@dataclass(frozen=True)
class HistoryRates:
    """What history and the days strictly before each moment say of a node; dense inputs that change with time.

    as_of: int64 [S], unix seconds, ascending (day boundaries in the log's zone). user: float32 [S, n_users, D],
    item: float32 [S, n_items, D], already transformed. names: the D features. A row at time x reads the last
    moment <= x (else the first).
    """

    as_of: Int64
    user: Float32
    item: Float32
    names: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """One ingested log, split by global time: history < train < validate < test."""

    schema: LogSchema
    users: Nodes
    items: Nodes
    history: Interactions | None
    train: Interactions
    validate: Interactions
    test: Interactions
    rates: HistoryRates | None = None
