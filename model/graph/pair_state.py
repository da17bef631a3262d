"""What a graph must remember to be brought up to date exactly: the merged pairs of both sides, and plain counts.

A graph's edges are cut to top-k and rounded to float16, and a repeated pair counts by the union of its tasks, so a day
cannot be added to them. Beside the graph lie `pairs/<side>/`: end.npy int64 [n] (CSR: where a node's pairs end),
other.npy int32 [E], mask.npy uint8 or uint16 [E], exposure.npy int64 [n], positive.npy int64 [n, T]; and
`pairs/state.json`. That is 5 bytes a pair and side, and 16 + 8 T bytes a node. Times are not kept: a day lies after all
that is inside, and the graph's own recents tell which partners were the last.
Legend: n nodes of a side with row 0, E merged pairs, T tasks, R rows of a block.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import UserError
from model.graph.array_file import load_array, save_array
from model.graph.merging import Edges
from model.graph.partition import SIDES, ShardSource, SideName
from model.graph.scratch import OUT_OF_PLACE, disk_errors
from model.graph.tables import Counts

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
FOLDER, FACTS = "pairs", "state.json"
FORMAT = 1
UPDATABLE = "updatable"
"""Fact of a graph that has its pairs beside it."""


@dataclass(frozen=True)
class Pairs:
    """One side's merged pairs, by node and then by partner. end: int64 [n]. other: int32 [E]. mask: [E]."""

    end: Int64
    other: Int32
    mask: npt.NDArray[Any]

    def ends(self, start: int, stop: int) -> Int64:
        """Where the pairs of the nodes start - 1 .. stop - 1 end, [stop - start + 1]; nodes past the last have none."""
        node = np.arange(start - 1, stop)
        inside = self.end[np.clip(node, 0, len(self.end) - 1)]
        return np.where(node < 0, 0, inside)


@dataclass(frozen=True)
class PairState:
    """Of all interactions strictly before `as_of`. levels: of the tasks. timezone: IANA name, of the log's days.

    log_end: where the rows that were read ended. Those from as_of up to it are not inside yet; where it lies before
    as_of, what the log has between the two by now is not inside either.
    """

    as_of: int
    levels: tuple[int, ...]
    timezone: str
    log_end: int
    pairs: dict[SideName, Pairs]
    counts: dict[SideName, Counts]

    @property
    def inside_until(self) -> int:
        """What lies before this moment is inside, as far as it was read."""
        return min(self.as_of, self.log_end)

    def counts_of(self, side: SideName, rows: slice) -> Counts:
        """Of some nodes; those past the last one have nothing."""
        counts, n = self.counts[side], rows.stop - rows.start
        exposure, positive = counts.exposure[rows], counts.positive[rows]
        missing = n - len(exposure)
        return Counts(np.pad(exposure, (0, missing)), np.pad(positive, ((0, missing), (0, 0))))


class PairKeeper:
    """Takes a build's merged pairs, block by block in the order of each shard's nodes, and counts; writes the state."""

    def __init__(self, source: ShardSource, n_tasks: int) -> None:
        place, mask = source.place, np.uint8 if n_tasks <= 8 else np.uint16
        self._n_nodes, self._shards = source.n_nodes, source.shards
        self._other = {side: place.regions(np.int32, source.most_events(side)) for side in SIDES}
        self._mask = {side: place.regions(mask, source.most_events(side)) for side in SIDES}
        self._length = {side: place.regions(np.int64, np.diff(source.starts[side])) for side in SIDES}
        self.counts = {
            side: Counts(place.zeros((n,), np.int64), place.zeros((n, n_tasks), np.int64))
            for side, n in source.n_nodes.items()
        }

    def begin(self, side: SideName, shard: int) -> None:
        """Forgets what an attempt at the shard that was broken off has kept."""
        for regions in (self._other, self._mask, self._length):
            regions[side].begin(shard)

    def keep(self, side: SideName, shard: int, edges: Edges, n_rows: int) -> None:
        """All pairs of the shard's next n_rows rows. Threads may keep different shards at a time."""
        self._other[side].append(shard, edges.other)
        self._mask[side].append(shard, edges.mask)
        self._length[side].append(shard, np.bincount(edges.own, minlength=n_rows))

    def count(self, side: SideName, rows: slice, exposure_R: Int64, positive_RT: Int64) -> None:
        self.counts[side].exposure[rows] = exposure_R
        self.counts[side].positive[rows] = positive_RT

    def write(
        self, folder: Path, as_of: int, levels: tuple[int, ...], timezone: str, *, log_end: int | None = None
    ) -> None:
        """Writes `pairs/` into the graph's folder. Raises Fault on a full disk."""
        facts = {"format": FORMAT, "as_of": as_of, "levels": list(levels), "timezone": timezone}
        facts["log_end"] = log_end or as_of
        root, numbers = folder / FOLDER, range(self._shards)
        with disk_errors(folder, OUT_OF_PLACE):
            for side in SIDES:
                (root / side).mkdir(parents=True)
                for name, regions in (("other", self._other), ("mask", self._mask)):
                    save_array(root / side / f"{name}.npy", [regions[side].whole(number) for number in numbers])
                save_array(root / side / "end.npy", list(self._ends(side)))
                save_array(root / side / "exposure.npy", [self.counts[side].exposure])
                save_array(root / side / "positive.npy", [self.counts[side].positive])
            (root / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    def _ends(self, side: SideName) -> list[Int64]:
        reached, ends = 0, []
        for number in range(self._shards):
            of_shard = reached + np.cumsum(self._length[side].whole(number), dtype=np.int64)
            ends.append(of_shard)
            reached = int(of_shard[-1]) if len(of_shard) else reached
        return ends


def read_state(folder: Path) -> PairState:
    """The state beside a graph, its arrays mapped read-only. Raises UserError where there is none that can be read."""
    root = folder / FOLDER
    try:
        facts = json.loads((root / FACTS).read_text())
        if facts["format"] != FORMAT:
            raise UserError(f"{root}: format {facts['format']}, this version reads {FORMAT}; stream the log again")
        state = PairState(
            as_of=int(facts["as_of"]),
            levels=tuple(int(level) for level in facts["levels"]),
            timezone=str(facts["timezone"]),
            log_end=int(facts["log_end"]),
            pairs={
                side: Pairs(*(load_array(root / side / f"{n}.npy") for n in ("end", "other", "mask"))) for side in SIDES
            },
            counts={
                side: Counts(*(load_array(root / side / f"{n}.npy") for n in ("exposure", "positive")))
                for side in SIDES
            },
        )
    except FileNotFoundError:
        raise UserError(
            f"{folder}: keeps no pairs to go on from; stream the log with --updatable, and update that graph"
        ) from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{root / FACTS}: not a readable state ({type(error).__name__}); stream the log again"
        ) from None
    return state
