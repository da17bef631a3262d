"""What a graph of so many edges would take, from the bytes of the builder's formats and measured seconds an edge:
`python -m benchmarks.graph.plan`. Prints Markdown; a plan on paper, not a measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.results import markdown_table
from model.graph.events import PIECE_ROWS
from model.graph.memory import BYTES_PER_EVENT, BYTES_PER_KEPT
from model.graph.partition import SPAN_BITS

GB, TB = 1e9, 1e12
SIZES = ((1e9, 100e6, 10e6), (10e9, 500e6, 50e6), (100e9, 1e9, 100e6))
"""Edges, users and items."""


@dataclass(frozen=True)
class Size:
    """One log and the options of its graph. tasks: at most eight, so that a mask takes a byte."""

    edges: float
    users: float
    items: float
    tasks: int = 3
    snapshots: int = 2
    top_k: int = 16
    two_hop_top_k: int = 32
    recent: int = 5

    @property
    def nodes(self) -> float:
        return self.users + self.items

    def records(self) -> float:
        """Events cut by user and by item: 14 bytes each (model.graph.partition)."""
        return 2 * 14 * self.edges

    def records_read(self) -> float:
        """Both sides are read to be merged, for one hop and for two."""
        return 3 * self.records()

    def merged(self) -> float:
        """Merged pairs while groups are fitted, both sides; no pair repeated, at worst. 4 bytes a partner, 1 a mask."""
        return 2 * 5 * self.edges + 8 * self.nodes

    def table(self, nodes: float) -> float:
        """One side's inner table of one snapshot: macro node and count, 8 bytes, 12 beyond 2^31 of them."""
        entries = min(self.edges, nodes * self.two_hop_top_k)
        return entries * (8 if entries < 2**31 else 12) + 8 * nodes

    def graph(self) -> float:
        """The artifact, which the build makes at its place."""
        a_node = 8 * self.top_k + 8 * self.recent + 8 * self.tasks + 4
        return self.snapshots * a_node * self.nodes + 4 * self.nodes

    def pairs(self) -> float:
        """What an updatable graph has beside it."""
        return 2 * 5 * self.edges + (16 + 8 * self.tasks) * self.nodes

    def peak_disk(self) -> float:
        tables = self.snapshots * (self.table(self.users) + self.table(self.items))
        return self.records() + max(self.merged(), tables + self.graph())

    def survey(self) -> float:
        """What the first reading answers: of every piece of the log the events by span of nodes, through one driver."""
        return math.ceil(self.edges / PIECE_ROWS) * self.nodes / (1 << SPAN_BITS) * 8

    def shards(self, memory_a_worker: float) -> int:
        """So many that half of a worker's memory holds one."""
        a_row = BYTES_PER_EVENT + BYTES_PER_KEPT * self.snapshots
        return math.ceil(self.edges * a_row / (memory_a_worker / 2))


def main(
    *,
    seconds: Annotated[float, typer.Option(help="Processor microseconds an edge, from benchmarks/results/graph.md.")],
    workers: Annotated[str, typer.Option(help="Workers (cores) of each size.")] = "2,64,512",
    memory_gb: Annotated[float, typer.Option(help="Working memory of a worker.")] = 2.0,
    disk_gbs: Annotated[float, typer.Option(help="GB a second that all workers together read and write.")] = 10.0,
    core_hour: Annotated[float, typer.Option(help="Price of a core hour.")] = 0.05,
    efficiency: Annotated[float, typer.Option(help="Share of a core's time that is work.")] = 0.7,
) -> None:
    """Bytes, memory, hours and cost of graphs of 1 G, 10 G and 100 G edges."""
    rows: list[dict[str, Any]] = []
    for (edges, users, items), count in zip(SIZES, (int(text) for text in workers.split(",")), strict=True):
        size = Size(edges, users, items)
        core_hours = size.edges * seconds / 1e6 / 3600 / efficiency
        moved = size.records() + size.records_read() + 2 * size.merged() + 2 * size.graph()
        rows.append(
            {
                "edges": f"{edges / 1e9:,.0f} G",
                "nodes": f"{size.nodes / 1e9:,.2f} G",
                "workers": count,
                "shards": f"{size.shards(memory_gb * GB):,}",
                "cut (shuffle) TB": round(size.records() / TB, 3),
                "read and written TB": round(moved / TB, 2),
                "survey, through one driver TB": round(size.survey() / TB, 3),
                "working folder at most TB": round(size.peak_disk() / TB, 2),
                "graph TB": round(size.graph() / TB, 3),
                "pairs TB": round(size.pairs() / TB, 3),
                "users' table, in each machine's memory GB": round(size.table(users) / GB),
                "core hours": round(core_hours, 1),
                "hours": round(max(core_hours / count, moved / (disk_gbs * GB) / 3600), 2),
                "cost": f"{core_hours * core_hour:,.2f}",
            }
        )
    Console(width=250, markup=False).print("\n".join(markdown_table(_turned(rows))))


def _turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One column a size, which is easier to read where there are few."""
    return [{"": name} | {row["edges"]: row[name] for row in rows} for name in rows[0] if name != "edges"]


if __name__ == "__main__":
    typer.run(main)
