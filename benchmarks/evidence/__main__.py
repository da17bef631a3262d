"""`python -m benchmarks.evidence`: the evidence store against the plain way. Writes benchmarks/results/evidence.*."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy import Engine

from benchmarks.evidence import peer
from benchmarks.evidence.postgres import FOLDERS, PostgresServer, start
from benchmarks.evidence.store import BATCH, UNITS, Load, Store, running
from benchmarks.results import Row, machine_facts, write_results
from serving.evidence.engine import open_engine

PACKAGES = ("sqlalchemy", "psycopg", "fastapi", "uvicorn")
WINDOW = 20_000
"""Outcomes over which a rate is measured; half and a quarter of it for what costs more."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes; nothing is kept.")] = False,
    sizes: Annotated[str, typer.Option(help="Stored events at which the rate is measured.")] = "10000,1000000",
) -> None:
    """Measure the rate of events over HTTP into PostgreSQL and SQLite by kind, and the read-out, at several sizes."""
    console = Console(width=140)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = (2000,) if quick else tuple(int(size) for size in sizes.split(","))
    rates: list[Row] = []
    reads: list[Row] = []
    if not FOLDERS:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    servers: list[PostgresServer] = []
    folder = Path(tempfile.mkdtemp(prefix="mgoe-evidence-"))
    data = Path(tempfile.mkdtemp(prefix="mgoe-postgres-"))
    try:
        server = start(FOLDERS[0], data, servers)
        for name, address, process in (
            ("PostgreSQL", server.make_database(), server.process.pid),
            ("SQLite", f"sqlite:///{folder / 'evidence.db'}", None),
        ):
            plain_address = server.make_database() if process else f"sqlite:///{folder / 'plain.db'}"
            plain = _plain(plain_address, inserts=300 if quick else 2000, stored=wanted[-1])
            with running(address, folder, process) as store:
                store.prepare()
                engine = open_engine(address)
                for row in _store(store, engine, name, wanted, plain):
                    rates.append(row)
                    console.print(row)
                engine.dispose()
                reads.append(_read(name, store, plain, wanted[-1]))
                console.print(reads[-1])
    finally:
        for each in servers:
            each.end()
        shutil.rmtree(folder)
        shutil.rmtree(data, ignore_errors=True)
    tables = {
        f"Events a second over HTTP in batches of {BATCH}, {UNITS} units, by events of other units stored before; "
        "per core: by CPU second of the store's process, or of it and the database's": rates,
        "Reading the evidence": reads,
    }
    if not quick:
        path = write_results("evidence", "python -m benchmarks.evidence", machine_facts(PACKAGES), tables)
        console.print(f"written to {path}")


def _plain(address: str, *, inserts: int, stored: int) -> peer.Plain:
    engine = open_engine(address)
    try:
        return peer.measure(engine, units=UNITS, inserts=inserts, stored=stored)
    finally:
        engine.dispose()


def _store(store: Store, engine: Engine, name: str, sizes: tuple[int, ...], plain: peer.Plain) -> list[Row]:
    rows: list[Row] = []
    stored = 0
    for size in sizes:
        store.fill(engine, size - stored)
        stored = size
        window = min(WINDOW, size)
        for what, load in (
            ("outcomes", store.outcomes(window)),
            ("exposures, same phase", store.exposures(window // 2)),
            ("outcomes, then the exposures that they name", store.outcomes_before_exposures(window // 2)),
            ("first exposures of the next phase", _ramp(store, window // 2)),
            ("the same after later outcomes (replayed)", store.exposures_after_outcomes(window // 4)),
        ):
            rows.append(_rate(name, size, what, load, plain))
    return rows


def _ramp(store: Store, events: int) -> Load:
    store.begin_phase()
    return store.exposures(events)


def _rate(name: str, size: int, what: str, load: Load, plain: peer.Plain) -> Row:
    return {
        "database": name,
        "stored": size,
        "events": what,
        "events/s": round(load.events / load.wall_s),
        "per core of the store": round(load.events / load.store_cpu_s),
        "per core of store and database": round(load.events / (load.store_cpu_s + load.database_cpu_s)),
        "times one insert an event": round(load.events / load.wall_s / plain.events_per_s, 1),
    }


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
