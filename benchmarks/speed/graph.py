"""Graph counting against DuckDB SQL and a per-row Python construction, on one synthetic log, outputs asserted equal.

One process, one run: every contender is timed some times in turn and its best time counts. DuckDB reads tables that are
already in its memory and keeps its result there, once on one thread and once on two; ours starts from arrays and always
runs on one. The per-row construction (MacGNN's way: a Python loop that adds every interaction to its node's histogram)
sees a part of the rows, and rates are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy import sparse

from model.graph.edges import count_macro, two_hop
from model.graph.merging import Edges, merge
from model.graph.ranking import score_table, summable

LEVELS = (1, 2, 3)
SQL_THREADS = (1, 2)


@dataclass(frozen=True)
class Log:
    """user, item: int32 [N], from 1. mask: uint32 [N]. user_group, item_group: int32 [n + 1], 1..K."""

    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    mask: npt.NDArray[np.uint32]
    user_group: npt.NDArray[np.int32]
    item_group: npt.NDArray[np.int32]
    n_groups: int


@dataclass(frozen=True)
class Measured:
    """One contest. seconds: best time of each contender; ours first. rows: what the rate counts."""

    what: str
    rows: int
    ours: float
    peer: str
    theirs: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


def synthetic_log(rows: int, users: int, items: int, groups: int, seed: int) -> Log:
    """Items by a power law, users evenly; three tasks, a quarter of the rows without a positive."""
    rng = np.random.default_rng(seed)
    popular = np.minimum(items * rng.random(rows) ** 3, items - 1).astype(np.int32) + 1
    return Log(
        user=rng.integers(1, users + 1, rows, dtype=np.int32),
        item=rng.permutation(items).astype(np.int32)[popular - 1] + 1,
        mask=rng.choice(np.array([0, 1, 1, 3, 2, 1, 5, 7], dtype=np.uint32), rows),
        user_group=np.concatenate([[0], rng.integers(1, groups + 1, users)]).astype(np.int32),
        item_group=np.concatenate([[0], rng.integers(1, groups + 1, items)]).astype(np.int32),
        n_groups=groups,
    )


def best_of(repeats: int, contenders: list[Callable[[], Any]]) -> list[tuple[float, Any]]:
    """Best seconds and the last result of each contender, run in turn."""
    seconds, results = [float("inf")] * len(contenders), [None] * len(contenders)
    for _ in range(repeats):
        for number, contender in enumerate(contenders):
            start = time.perf_counter()
            results[number] = contender()
            seconds[number] = min(seconds[number], time.perf_counter() - start)
    return list(zip(seconds, results, strict=True))


class Sql:
    """The same steps in DuckDB; every step leaves a table."""

    def __init__(self, log: Log, scores: npt.NDArray[np.float64], threads: int) -> None:
        self._db = duckdb.connect(config={"threads": threads})
        self._load("log", {"u": log.user, "i": log.item, "mask": log.mask})
        self._load("user_group", {"u": np.arange(len(log.user_group), dtype=np.int32), "k": log.user_group})
        self._load("item_group", {"i": np.arange(len(log.item_group), dtype=np.int32), "k": log.item_group})
        self._load("score", {"mask": np.arange(len(scores), dtype=np.uint32), "s": scores})

    def _load(self, name: str, columns: dict[str, npt.NDArray[Any]]) -> None:
        self._db.register("view", columns)
        self._db.execute(f"create table {name} as select * from view")  # noqa: S608 - names are literals above
        self._db.unregister("view")

    def merge(self) -> None:
        self._db.execute(
            "create or replace table edge as select u, i, bit_or(mask) as mask from log where mask <> 0 group by u, i"
        )

    def one_hop(self) -> None:
        self._db.execute(
            "create or replace table u1 as select u, k, sum(s) as n "
            "from edge join item_group using (i) join score using (mask) group by u, k"
        )

    def item_table(self) -> None:
        self._db.execute(
            "create or replace table i1 as select i, k, sum(s) as n "
            "from edge join user_group using (u) join score using (mask) group by i, k"
        )

    def two_hop(self) -> None:
        self._db.execute(
            "create or replace table u2 as select u, k, sum(s * n) as n "
            "from edge join score using (mask) join i1 using (i) group by u, k"
        )

    def rows(self, table: str, order: str) -> dict[str, npt.NDArray[Any]]:
        found = self._db.execute(f"select * from {table} order by {order}").fetchnumpy()  # noqa: S608 - as above
        return {name: np.asarray(column) for name, column in found.items()}


def per_row_python(log: Log, scores: npt.NDArray[np.float64], rows: int) -> list[list[float]]:
    """MacGNN's way: one pass over the interactions, each added to its user's histogram of item groups."""
    histogram = [[0.0] * (log.n_groups + 1) for _ in range(len(log.user_group))]
    merged: dict[tuple[int, int], int] = {}
    group, score = log.item_group.tolist(), scores.tolist()  # lists are what Python indexes fastest
    columns = (column[:rows].tolist() for column in (log.user, log.item, log.mask))
    for user, item, mask in zip(*columns, strict=True):
        if mask:
            merged[user, item] = merged.get((user, item), 0) | mask
    for (user, item), mask in merged.items():
        histogram[user][group[item]] += score[mask]
    return histogram


def merged(log: Log, rows: int | None = None) -> Edges:
    return merge(log.user[:rows], log.item[:rows], log.mask[:rows], len(log.item_group))


def one_hop(log: Log, edges: Edges, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return count_macro(edges, log.item_group, scores, len(log.user_group), log.n_groups)


def item_table(log: Log, edges: Edges, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    turned = Edges(edges.other, edges.own, edges.mask)
    return count_macro(turned, log.user_group, scores, len(log.item_group), log.n_groups)


def two_hop_table(
    log: Log, edges: Edges, scores: npt.NDArray[np.float64], table: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    n_users = len(log.user_group)
    cells = two_hop(edges, scores, sparse.csr_array(table.astype(np.float32)), n_users)
    found = np.zeros((n_users, log.n_groups + 1))
    found[cells.row, cells.macro] = cells.count
    return found


def assert_same(table: npt.NDArray[np.float64], rows: dict[str, npt.NDArray[Any]], node: str, tolerance: float) -> None:
    """Every row of the SQL result is a filled cell of the table, and there are no others."""
    nodes, macro = np.nonzero(table)
    np.testing.assert_array_equal(nodes, rows[node])
    np.testing.assert_array_equal(macro, rows["k"])
    np.testing.assert_allclose(table[nodes, macro], rows["n"], rtol=tolerance)


def against_sql(log: Log, scores: npt.NDArray[np.float64], *, threads: int, repeats: int, hops: int) -> list[Measured]:
    sql, peer, found = Sql(log, scores, threads), f"DuckDB, {threads} thread{'s' * (threads > 1)}", []
    (ours, edges), (theirs, _) = best_of(repeats, [lambda: merged(log), sql.merge])
    rows = sql.rows("edge", "u, i")
    for name, column in (("u", edges.own), ("i", edges.other), ("mask", edges.mask)):
        np.testing.assert_array_equal(rows[name], column)
    found.append(Measured("merge (user, item) -> task mask", len(log.user), ours, peer, theirs))
    (ours, table), (theirs, _) = best_of(repeats, [lambda: one_hop(log, edges, scores), sql.one_hop])
    assert_same(table, sql.rows("u1", "u, k"), "u", 0)
    found.append(Measured("count N_u1 = S C_I", len(edges), ours, peer, theirs))
    (ours, table), (theirs, _) = best_of(repeats, [lambda: item_table(log, edges, scores), sql.item_table])
    assert_same(table, sql.rows("i1", "i, k"), "i", 0)
    found.append(Measured("count N_i1 = S' C_U", len(edges), ours, peer, theirs))
    if hops > 1:
        (ours, second), (theirs, _) = best_of(1, [lambda: two_hop_table(log, edges, scores, table), sql.two_hop])
        assert_same(second, sql.rows("u2", "u, k"), "u", 1e-5)  # the item table is kept in float32
        found.append(Measured("two hops N_u2 = S (S' C_U)", len(edges), ours, peer, theirs))
    return found


def against_python(log: Log, scores: npt.NDArray[np.float64], rows: int) -> Measured:
    (theirs, histogram), (ours, table) = best_of(
        1, [lambda: per_row_python(log, scores, rows), lambda: one_hop(log, merged(log, rows), scores)]
    )
    np.testing.assert_array_equal(np.array(histogram), table)
    return Measured(f"merge and count, first {rows:,} rows", rows, ours, "Python, row by row", theirs)


def show(console: Console, found: list[Measured]) -> None:
    table = Table(
        "step", "rows", "ours, rows/s", "peer", "peer, rows/s", "ratio", title="Graph counting, equal outputs"
    )
    for one in found:
        rates = (f"{one.rows / one.ours / 1e6:,.1f} M", f"{one.rows / one.theirs / 1e6:,.2f} M")
        table.add_row(one.what, f"{one.rows:,}", rates[0], one.peer, rates[1], f"[bold]{one.ratio:,.1f}x[/]")
    console.print(table)


def measure(
    *,
    rows: int = 6_000_000,
    users: int = 150_000,
    items: int = 100_000,
    groups: int = 100,
    beta: float = 0.0,
    hops: int = 1,
    python_rows: int = 300_000,
    repeats: int = 3,
    seed: int = 0,
) -> list[Measured]:
    """All contests on one log. hops: 2 also times a two-hop product, slow in SQL. python_rows: what the loop sees."""
    log, scores = synthetic_log(rows, users, items, groups, seed), summable(score_table(LEVELS, "additive", beta))
    found = [against_sql(log, scores, threads=threads, repeats=repeats, hops=hops) for threads in SQL_THREADS]
    return [*chain.from_iterable(found), against_python(log, scores, min(python_rows, rows))]
