"""Connections to the two databases, set so that what was committed is on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from model.errors import Fault, UserError

BUSY_S = 30.0
"""Seconds to wait for another process's write to an SQLite file."""


POOL = 20
"""Connections of one process, besides the writer's own."""
POOL_S = 5.0
"""Seconds to wait for one of them to be free."""

_SETTINGS = {
    "synchronous_commit": "on",
    "timezone": "UTC",
    "lock_timeout": "20s",
    "statement_timeout": "120s",
    "idle_in_transaction_session_timeout": "120s",
}


class AwayError(Fault):
    """The database does not answer, or not in time: what was asked of it is not to blame."""


def open_engine(address: str, connections: int = POOL, answer_s: float | None = None) -> Engine:
    """An engine for sqlite:///FILE or postgresql://...; raises UserError for another address.

    answer_s: of PostgreSQL, how long to wait for a connection, a statement and a host that is gone; None: as a server.
    """
    url = _url(address)
    pool = {"pool_size": connections, "max_overflow": 0, "pool_timeout": POOL_S}
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, pool)
    settings, waits = _SETTINGS, {"connect_timeout": 10}
    if answer_s is not None:
        settings = _SETTINGS | {"lock_timeout": f"{answer_s:g}s", "statement_timeout": f"{answer_s:g}s"}
        waits = {"connect_timeout": max(2, round(answer_s)), "tcp_user_timeout": round(answer_s * 1000)}
    # A commit that is acknowledged is flushed to disk, whatever the server's default says.
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            **waits,
        },
        **pool,
    )


def own_connection(engine: Engine) -> Engine:
    """An engine for the same database with one connection of its own, which no other user of the pool can take."""
    return open_engine(engine.url.render_as_string(hide_password=False), connections=1)


def _url(address: str) -> URL:
    try:
        url = make_url(address)
        backend = url.get_backend_name()
    except ArgumentError as error:
        raise UserError(f"database {address[:9]!r}...: write sqlite:///FILE or postgresql://HOST/NAME") from error
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise UserError(f"database of kind {backend!r}: write sqlite:///FILE or postgresql://HOST/NAME")
    if backend == "sqlite" and url.database in {None, "", ":memory:"}:
        raise UserError(f"database {address!r} names no file: evidence has to survive; write sqlite:///FILE")
    return url


def _sqlite(url: URL, pool: Mapping[str, Any]) -> Engine:
    folder = Path(str(url.database)).parent
    if not folder.is_dir():
        raise UserError(f"database {url}: the folder {folder} does not exist")
    engine = create_engine(url.set(drivername="sqlite"), connect_args={"timeout": BUSY_S}, **pool)

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        readonly = connection.get_execution_options().get("readonly", False)
        connection.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, or nothing of it. Raises Fault where the database fails."""
    with _faults(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database."""
    with _faults(engine), engine.connect() as plain:
        if engine.dialect.name == "postgresql":
            connection = plain.execution_options(isolation_level="REPEATABLE READ")
        else:
            connection = plain.execution_options(readonly=True)
        yield connection


@contextmanager
def _faults(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        away = isinstance(error, OperationalError | InterfaceError)
        raise (AwayError if away else Fault)(f"database {engine.url.render_as_string()}: {reason}") from error
    except NoConnectionError as error:
        raise AwayError(f"database {engine.url.render_as_string()}: all connections are taken") from error


def answers(engine: Engine) -> bool:
    """Whether the database answers at all."""
    try:
        with reading(engine) as connection:
            connection.execute(text("SELECT 1"))
    except Fault:
        return False
    return True
