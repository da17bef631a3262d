"""The tables X inside the two-hop products S X: one-hop counts of every node, cut to two_hop_top_k, without padding.

Legend: n nodes of the side, R rows of a block, K macro nodes of the other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from model.graph.edges import Kept
from model.graph.scratch import Scratch

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ragged:
    """Rows of kept counts without their padding. length: int32 [R]. macro, count: one behind the other."""

    length: Int32
    macro: Int32
    count: Float32

    @classmethod
    def of(cls, kept: Kept, k: int) -> Ragged:
        macro, count = kept.macro[:, :k], kept.count[:, :k]
        real = macro > 0
        return cls(np.count_nonzero(real, axis=1).astype(np.int32), macro[real].astype(np.int32), count[real])


class InnerTables:
    """One table a snapshot, made of rows appended in the order of nodes; on disk where the build is.

    most: no snapshot has more counts. It decides the type of positions and columns, which scipy wants to be one.
    """

    def __init__(self, place: Scratch, snapshots: int, n_nodes: int, n_macro: int, most: int) -> None:
        self._shape, self._snapshots = (n_nodes, n_macro + 1), snapshots
        position = np.int32 if most < 2**31 else np.int64
        self._end = place.regions(position, np.full(snapshots, n_nodes + 1))
        self._macro = place.regions(position, np.full(snapshots, most))
        self._count = place.regions(np.float32, np.full(snapshots, most))
        self._reached = np.zeros(snapshots, np.int64)
        for snapshot in range(snapshots):
            self._end.append(snapshot, np.zeros(1, position))

    def append(self, snapshot: int, rows: Ragged) -> None:
        """The next rows of a snapshot."""
        self._end.append(snapshot, self._reached[snapshot] + np.cumsum(rows.length, dtype=np.int64))
        self._macro.append(snapshot, rows.macro)
        self._count.append(snapshot, rows.count)
        self._reached[snapshot] += len(rows.macro)

    def whole(self) -> list[sparse.csr_array]:
        """CSR float32 [n, K + 1] of every snapshot."""
        return [self._table(snapshot) for snapshot in range(self._snapshots)]

    def _table(self, snapshot: int) -> sparse.csr_array:
        table = sparse.csr_array(self._shape, dtype=np.float32)
        # Set one by one: the constructor would copy arrays that are a small part of the mapped file.
        table.indptr, table.indices = self._end.whole(snapshot), self._macro.whole(snapshot)
        table.data = self._count.whole(snapshot)
        return table
