"""How a build spends its working memory: half on shards, a quarter on blocks of their nodes, a quarter on products.

The second hop reads one more table of at most half as much, which comes on top: mapped where the build is on disk, so
that the system takes its pages back where it needs them; in memory it is memory. What is not of them lies on disk where
it does not fit. On top come some 60 bytes per node, what is sampled to fit the groups (`fit_sample`, `fold_users`,
`fold_items`), and one span of nodes (`model.graph.partition`) that is heavier than a shard may be.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import UserError
from model.graph.config import MAX_SHARDS, GraphConfig

BYTES_PER_EVENT = 120
"""Of one event inside a shard: its columns, sort order, pair key and edge."""
BYTES_PER_KEPT = 8
"""Of one event and snapshot: a macro node and its count on their way into the table of the two-hop product."""
BYTES_PER_CELL = 64
"""Of one cell of a two-hop product: as the product gives it, as a cell, and as a key that is sorted."""
MIB = 2**20
BYTES_PER_READ = 160
"""Of one event on its way to the shards: its columns as they are read and joined, its order and its record."""
MOST_ROWS, MOST_EVENTS, MOST_CELLS, MOST_READ = 1 << 15, 1 << 18, 1 << 22, 1 << 21
"""Blocks are not made larger than this: beyond it memory buys no speed."""


@dataclass(frozen=True)
class Spending:
    """shards: of either side. on_disk: whether events and arrays are. rows, events: at most so many in a block (but a
    single node). cells: of a product at a time (but a single row). read: events that are cut into shards at a time, but
    one chunk. table_bytes: of the tables that a second hop may read in full."""

    shards: int
    on_disk: bool
    rows: int
    events: int
    cells: int
    read: int
    table_bytes: int


def spending_for(  # noqa: PLR0917
    rows: int, nodes: int, tasks: int, snapshots: int, config: GraphConfig, workers: int | None = None
) -> Spending:
    """rows: of the log. nodes: of both sides. workers: shards side by side, without it config.threads.

    Raises UserError where the memory is too small for any number of shards. The graph is the same however it is built.
    """
    if workers is not None:
        config = config.model_copy(update={"threads": workers})
    shards = shards_for(rows, snapshots, config)
    quarter = config.memory_mb * MIB // 4 // config.threads
    fits = nodes * snapshots * _bytes_per_node(tasks, config) <= config.memory_mb * MIB // 4
    return Spending(
        shards=shards,
        on_disk=shards > 1 or not fits,
        rows=max(1, min(MOST_ROWS, quarter // 2 // _bytes_per_row(tasks, config))),
        events=max(1, min(MOST_EVENTS, quarter // 2 // (BYTES_PER_EVENT + 8 * tasks))),
        cells=max(1, min(MOST_CELLS, quarter // BYTES_PER_CELL)),
        read=max(1, min(MOST_READ, quarter // BYTES_PER_READ)),
        table_bytes=config.memory_mb * MIB // 2,
    )


def shards_for(rows: int, snapshots: int, config: GraphConfig) -> int:
    """At least config.shards, more where half of the memory would not hold the events of those worked on at a time.

    Raises UserError beyond MAX_SHARDS.
    """
    working = rows * (BYTES_PER_EVENT + BYTES_PER_KEPT * snapshots) * config.threads
    needed = -(-working // (config.memory_mb * MIB // 2))
    if needed > MAX_SHARDS:
        enough = -(-working // (MAX_SHARDS * MIB // 2))
        raise UserError(
            f"memory_mb={config.memory_mb}: {rows:,} rows and {snapshots} snapshot(s) need at least {enough}"
        )
    return max(config.shards, needed)


def _bytes_per_node(tasks: int, config: GraphConfig) -> int:
    """What a snapshot keeps of a node, its entries in the product's table included."""
    kept = 8 * config.top_k + 8 * config.two_hop_top_k + 8 * config.recent + 8 * tasks + 8
    by_task = 2 * config.top_k * tasks if config.task_edges else 0
    means = 4 * tasks + 16 * (tasks + 1) if config.neighbour_means else 0
    return kept + by_task + means


def _bytes_per_row(tasks: int, config: GraphConfig) -> int:
    """What a block holds of a row: its state now and renewed, and what is made of it for one snapshot."""
    k = max(config.top_k, config.two_hop_top_k)
    state = 6 * k + 4 * tasks + 8 * config.recent + (4 * k * tasks if config.task_edges else 0)
    return 2 * state + 20 * k + 16 * (2 * tasks + 1) + 24 * (tasks + 1)
