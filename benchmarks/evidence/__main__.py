"""`python -m benchmarks.evidence`: the evidence store against the plain way. Writes benchmarks/results/evidence.*."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.evidence import peer
from benchmarks.evidence.postgres import FOLDERS, PostgresServer, start
from benchmarks.evidence.store import BATCH, UNITS, Load, Store, running
from benchmarks.results import FOLDER, QUICK_FOLDER, Row, machine_facts, write_results
from serving.evidence.engine import open_engine

PACKAGES = ("sqlalchemy", "psycopg", "fastapi", "uvicorn")
WINDOW = 10_000
"""Outcomes over which a rate is measured; half and a quarter of it for what costs more."""
ROUNDS = 3


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, one round.")] = False,
    sizes: Annotated[str, typer.Option(help="Stored events at which the rate is measured.")] = "10000,1000000",
    rounds: Annotated[int, typer.Option(min=1, help="Turns that the stores of all sizes take.")] = ROUNDS,
) -> None:
    """Measure the rate of events over HTTP into PostgreSQL and SQLite by kind, and the read-out, at several sizes.

    Each size has a store of its own that is asked for the same, in turns: they differ by their size alone.
    """
    console = Console(width=140)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = (1000, 20_000) if quick else tuple(sorted(int(size) for size in sizes.split(",")))
    rates: list[Row] = []
    reads: list[Row] = []
    if not FOLDERS:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    servers: list[PostgresServer] = []
    folder = Path(tempfile.mkdtemp(prefix="mgoe-evidence-"))
    try:
        for database in (Database("PostgreSQL", folder, servers), Database("SQLite", folder)):
            address, _ = database.make("plain")
            plain = _plain(address, inserts=300 if quick else 2000, stored=wanted[-1])
            with contextlib.ExitStack() as stack:
                stores = {size: stack.enter_context(database.store(size)) for size in wanted}
                found = _rounds(stores, 1000 if quick else WINDOW, 1 if quick else rounds)
                rates += [_rate(database.name, size, what, found, plain) for what, size in found]
                reads.append(_read(database.name, stores[wanted[-1]], plain, wanted[-1]))
            for row in (*rates[-len(found) :], reads[-1]):
                console.print(row)
    finally:
        for each in servers:
            each.end()
            shutil.rmtree(each.folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    tables = {
        f"Events a second over HTTP in batches of {BATCH}, {UNITS} units, by events of other units stored before: a "
        "store for each size, asked for the same in turns, medians of the rounds; per core: by CPU second of the "
        "store's process, or of it and the database's": rates,
        "Reading the evidence": reads,
    }
    command = "python -m benchmarks.evidence" + (" --quick" if quick else f" --sizes {sizes} --rounds {rounds}")
    path = write_results("evidence", command, machine_facts(PACKAGES), tables, QUICK_FOLDER if quick else FOLDER)
    console.print(f"written to {path}")


@dataclass(frozen=True)
class Database:
    """One kind of database. servers: those that were started, of PostgreSQL; None: SQLite."""

    name: str
    folder: Path
    servers: list[PostgresServer] | None = None

    def make(self, name: str) -> tuple[str, int | None]:
        """A new, empty database on a server of its own: its URL and that server's process."""
        if self.servers is None:
            return f"sqlite:///{self.folder / name}.db", None
        data = Path(tempfile.mkdtemp(prefix="mgoe-postgres-"))
        server = start(FOLDERS[0], data, self.servers)
        return server.make_database(), server.process.pid

    @contextlib.contextmanager
    def store(self, size: int) -> Iterator[Store]:
        """A running store that holds so many events of other units."""
        address, process = self.make(f"evidence-{size}")
        folder = self.folder / f"{self.name}-{size}"
        folder.mkdir()
        with running(address, folder, process) as store:
            store.prepare()
            engine = open_engine(address)
            store.fill(engine, size)
            engine.dispose()
            yield store


def _plain(address: str, *, inserts: int, stored: int) -> peer.Plain:
    engine = open_engine(address)
    try:
        return peer.measure(engine, units=UNITS, inserts=inserts, stored=stored)
    finally:
        engine.dispose()


Loads = dict[tuple[str, int], list[Load]]
"""By kind of event and stored events, one of each round."""
KINDS: dict[str, Callable[[Store, int], Load]] = {
    "outcomes": lambda store, window: store.outcomes(window),
    "exposures, same phase": lambda store, window: store.exposures(window // 2),
    "outcomes, then the exposures that they name": lambda store, window: store.outcomes_before_exposures(window // 2),
    "first exposures of the next phase": lambda store, window: _ramp(store, window // 2),
    "the same after later outcomes (replayed)": lambda store, window: store.exposures_after_outcomes(window // 4),
}


def _rounds(stores: Mapping[int, Store], window: int, rounds: int) -> Loads:
    found: Loads = {(what, size): [] for what in KINDS for size in stores}
    for number in range(rounds):
        for what, load in KINDS.items():
            for size in sorted(stores, reverse=number % 2 == 1):
                found[what, size].append(load(stores[size], window))
    return found


def _ramp(store: Store, events: int) -> Load:
    store.begin_phase()
    return store.exposures(events)


def _rate(name: str, size: int, what: str, found: Loads, plain: peer.Plain) -> Row:
    loads = found[what, size]
    smallest = found[what, min(size for _, size in found)]
    wall = median(load.events / load.wall_s for load in loads)
    row: Row = {
        "database": name,
        "stored": size,
        "events": what,
        "events/s": round(wall),
        "per core of the store": round(median(_per_core(load) for load in loads)),
        "per core of store and database": round(
            median(load.events / (load.store_cpu_s + load.database_cpu_s) for load in loads)
        ),
        "times one insert an event": round(wall / plain.events_per_s, 1),
    }
    of_smallest = [_per_core(load) / _per_core(first) for load, first in zip(loads, smallest, strict=True)]
    against = f"{median(of_smallest):.2f} ({min(of_smallest):.2f} to {max(of_smallest):.2f})"
    return row | {"per core of the store over the smallest store's (range)": "" if loads is smallest else against}


def _per_core(load: Load) -> float:
    return load.events / load.store_cpu_s


def _read(name: str, store: Store, plain: peer.Plain, stored: int) -> Row:
    ours = store.read_s()
    return {
        "database": name,
        "stored": stored,
        "from aggregates, ms (three metrics, over HTTP)": round(ours * 1000, 1),
        "GROUP BY over raw events, ms (one metric)": round(plain.read_s * 1000, 1),
        "ratio": round(plain.read_s / ours, 1),
    }


if __name__ == "__main__":
    typer.run(main)
