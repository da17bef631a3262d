"""Rollouts of one machine in a SQLite file, with the API server's manners: versions, generations, finalizers, rules."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.data.refused_field import refusal
from model.errors import Fault, UserError
from serving.rollout.controller_lock import controller_runs
from serving.rollout.resource import LONGEST_NAME
from serving.rollout.spec import ModelRolloutSpec, changed_while_running
from serving.rollout.state import Transition
from serving.rollout.store import FINALIZER, ConflictError, Key, Stored

NAMESPACE = "local"
BUSY_S = 3.0
"""For another process's write; a rollback has ten seconds for everything."""
LOG_BYTES = 64 * 1024
"""Room that SQLite's log and its index need at least when the first process opens the store."""
_NAME = re.compile(rf"[a-z0-9]([-a-z0-9]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
  name TEXT PRIMARY KEY, uid TEXT NOT NULL, version INTEGER NOT NULL, generation INTEGER NOT NULL,
  spec TEXT NOT NULL, status TEXT NOT NULL, deleted_at REAL, finalizers TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
  uid TEXT NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, warning INTEGER NOT NULL, transition TEXT NOT NULL,
  PRIMARY KEY (uid, seq)
);
"""
_COLUMNS = "name, uid, version, generation, spec, status, deleted_at, finalizers"


class SqliteStore:
    """The store of the local controller and of `mgoe rollout`, which may be two processes."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """path: the database; its folder is made. Raises Fault where it cannot be opened."""
        self._path = path
        self._now = now
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as database:
            # Readers hold no writer up, not even one that was stopped in its read: an abort must not wait.
            mode = database.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != ("wal",):
                raise Fault(f"{path}: the file system allows no write-ahead log, and readers would hold aborts up")
        # Kept open: while a process has the store, its log and index have their room, so that a full disk can be read.
        self._kept = self._connected()
        with self._reading() as database:
            self._kept.execute("SELECT count(*) FROM sqlite_master").fetchone()
            made = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if not {"rollouts", "events"} <= made:
            with self._writing() as database:
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)

    # What people do

    @property
    def place(self) -> str:
        """The file."""
        return str(self._path)

    def attended(self) -> bool:
        """Whether a controller runs on it."""
        return controller_runs(self._path)

    def create(self, name: str, spec: Mapping[str, Any]) -> Stored:
        """A new rollout. Raises UserError for a name that is taken or none, and for a spec that does not fit."""
        check_name(name)
        document = checked(spec).to_json()
        with self._writing() as database:
            if _row(database, name) is not None:
                raise UserError(f"rollout {name!r} is there already: use another name, or delete it first")
            database.execute(
                f"INSERT INTO rollouts ({_COLUMNS}) VALUES (?, ?, 1, 1, ?, '{{}}', NULL, '[]')",  # noqa: S608
                (name, uuid.uuid4().hex, json.dumps(document)),
            )
            return self._stored(database, name)

    def edit(self, name: str, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Stored:
        """Change a spec. Raises UserError for what the API server would refuse; nothing is written then."""
        with self._writing() as database:
            read = self._stored(database, name)
            spec = checked(change(dict(read.spec)))
            refusal = changed_while_running(checked(read.spec), spec, read.status.get("phase"))
            if refusal is not None:
                raise UserError(f"rollout {name!r}: {refusal}")
            document = spec.to_json()
            if document == read.spec:
                return read
            database.execute(
                "UPDATE rollouts SET spec = ?, version = version + 1, generation = generation + 1 WHERE name = ?",
                (json.dumps(document), name),
            )
            return self._stored(database, name)

    def delete(self, name: str) -> None:
        """Wish a rollout away; it goes when its traffic is back. Raises UserError for an unknown name."""
        with self._writing() as database:
            read = self._stored(database, name)
            if not read.finalizers:
                database.execute("DELETE FROM rollouts WHERE name = ?", (name,))
            elif read.deleted_at is None:
                database.execute(
                    "UPDATE rollouts SET deleted_at = ?, version = version + 1 WHERE name = ?",
                    (round(self._now(), 3), name),
                )

    def read(self, name: str) -> Stored:
        """The rollout of that name. Raises UserError."""
        with self._reading() as database:
            return self._stored(database, name)

    def names(self) -> tuple[str, ...]:
        """All rollouts."""
        with self._reading() as database:
            return tuple(name for (name,) in database.execute("SELECT name FROM rollouts ORDER BY name"))

    def all(self) -> tuple[Stored, ...]:
        """All of them by name, in one reading."""
        with self._reading() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM rollouts ORDER BY name").fetchall()  # noqa: S608  # our own
        return tuple(map(_of, rows))

    def generations(self) -> dict[str, tuple[int, bool]]:
        """By name: the spec's generation, and whether the rollout is wished away."""
        with self._reading() as database:
            rows = database.execute("SELECT name, generation, deleted_at IS NOT NULL FROM rollouts").fetchall()
        return {name: (generation, bool(deleted)) for name, generation, deleted in rows}

    @staticmethod
    def key(name: str) -> Key:
        """The key of a name."""
        return Key(NAMESPACE, name)

    # The store of the loop

    async def get(self, key: Key) -> Stored | None:
        """The present version."""

        def found() -> Stored | None:
            with self._reading() as database:
                row = _row(database, key.name)
                return None if row is None else _of(row)

        return await asyncio.to_thread(found)

    async def keys(self) -> tuple[Key, ...]:
        """All rollouts."""

        return tuple(Key(NAMESPACE, name) for name in await asyncio.to_thread(self.names))

    async def write_status(self, read: Stored, status: Mapping[str, Any]) -> Stored:
        """Replace the status. Raises ConflictError."""
        return await asyncio.to_thread(self._replace, read, "status", json.dumps(dict(status)))

    async def hold(self, read: Stored) -> Stored:
        """Add our finalizer. Raises ConflictError."""
        return await asyncio.to_thread(self._replace, read, "finalizers", json.dumps([*read.finalizers, FINALIZER]))

    async def release(self, read: Stored) -> None:
        """Take our finalizer away; a rollout that is wished away is gone with it. Raises ConflictError."""

        def let_go() -> None:
            with self._writing() as database:
                _require(database, read)
                database.execute("DELETE FROM rollouts WHERE name = ?", (read.key.name,))

        if read.deleted_at is not None:
            await asyncio.to_thread(let_go)
            return
        rest = [each for each in read.finalizers if each != FINALIZER]
        await asyncio.to_thread(self._replace, read, "finalizers", json.dumps(rest))

    async def announce(self, read: Stored, transition: Transition, warning: bool) -> None:
        """One row for a transition."""

        def write() -> None:
            with self._writing() as database:
                database.execute(
                    "INSERT OR IGNORE INTO events (uid, seq, name, warning, transition) VALUES (?, ?, ?, ?, ?)",
                    (read.uid, transition.seq, read.key.name, int(warning), json.dumps(transition.to_json())),
                )

        await asyncio.to_thread(write)

    def events(self, name: str) -> tuple[Transition, ...]:
        """All transitions of rollouts of that name, deleted ones too, oldest first."""
        with self._reading() as database:
            rows = database.execute("SELECT transition FROM events WHERE name = ? ORDER BY rowid", (name,)).fetchall()
        return tuple(Transition.model_validate_json(text) for (text,) in rows)

    def _replace(self, read: Stored, column: str, value: str) -> Stored:
        with self._writing() as database:
            _require(database, read)
            database.execute(
                f"UPDATE rollouts SET {column} = ?, version = version + 1 WHERE name = ?",  # noqa: S608  # our own names
                (value, read.key.name),
            )
            return self._stored(database, read.key.name)

    def _stored(self, database: sqlite3.Connection, name: str) -> Stored:
        row = _row(database, name)
        if row is None:
            names = [each for (each,) in database.execute("SELECT name FROM rollouts ORDER BY name")]
            raise UserError(f"no rollout {name!r} in {self._path}; there are: {', '.join(names) or 'none'}")
        return _of(row)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that begins with the write lock, on disk when it ends."""
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One view of the database, whoever writes meanwhile."""
        with self._opened() as database:
            database.execute("BEGIN")
            yield database

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        database = self._connected()
        try:
            database.execute("PRAGMA synchronous = FULL")
            yield database
        except sqlite3.Error as error:
            raise self._fault(error) from error
        finally:
            database.close()  # what was not committed is rolled back

    def _connected(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _fault(self, error: sqlite3.Error) -> Fault:
        """SQLite says "disk I/O error" where its log finds no room, or nothing of the disk at all."""
        try:
            full = shutil.disk_usage(self._path.parent).free < LOG_BYTES and "full" not in str(error)
        except OSError:  # the folder is gone
            full = False
        return Fault(f"{self._path}: {f'the disk is full ({error})' if full else error}")


def check_name(name: str) -> None:
    """Raises UserError for a name that the API server would refuse."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"name {name!r}: write 1 to {LONGEST_NAME} lower case letters, digits and dashes, "
            "without a dash at either end"
        )


def checked(spec: Mapping[str, Any]) -> ModelRolloutSpec:
    """The spec, or a UserError that names the first field that does not fit. As strict as the API server, which takes
    neither `true` nor "5" for a number."""
    try:
        text = json.dumps(spec, default=str)
    except (TypeError, ValueError) as error:  # YAML has keys that are lists, and anchors that hold themselves
        raise UserError(f"spec: {error}") from None
    try:
        return ModelRolloutSpec.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["spec", *(str(each) for each in first["loc"])])
        raise UserError(f"{place}: {refusal(first)}") from error


def _row(database: sqlite3.Connection, name: str) -> tuple[Any, ...] | None:
    found: tuple[Any, ...] | None = database.execute(
        f"SELECT {_COLUMNS} FROM rollouts WHERE name = ?",  # noqa: S608  # our own names
        (name,),
    ).fetchone()
    return found


def _of(row: tuple[Any, ...]) -> Stored:
    name, uid, version, generation, spec, status, deleted_at, finalizers = row
    return Stored(
        key=Key(NAMESPACE, name),
        uid=uid,
        version=str(version),
        generation=generation,
        spec=json.loads(spec),
        status=json.loads(status),
        deleted_at=deleted_at,
        finalizers=tuple(json.loads(finalizers)),
    )


def _require(database: sqlite3.Connection, read: Stored) -> None:
    row = _row(database, read.key.name)
    if row is None or _of(row).version != read.version or _of(row).uid != read.uid:
        raise ConflictError(f"{read.key}: version {read.version} is no longer the present one")
