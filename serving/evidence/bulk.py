"""Many rows in one statement: read by keys, insert what is new, add or replace.

PostgreSQL takes the rows as one JSON document, SQLite as a prepared statement that runs for each; both cost
microseconds a row.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Join,
    Row,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import TableValuedAlias

Record = Mapping[str, Any]
"""Values by column name, as the database stores them; a number of any size as digits."""


class _InOrder(Join):
    """Keys joined to their rows. SQLite is told to go from the keys to the rows: it knows nothing of how many keys
    there are, and would else read the table for each."""

    inherit_cache = True


@compiles(_InOrder, "sqlite")
def _cross_join(join: _InOrder, compiler: SQLCompiler, **options: Any) -> str:
    options["asfrom"] = True
    left, right = (compiler.process(side, **options) for side in (join.left, join.right))
    condition = compiler.process(typing.cast("ColumnElement[bool]", join.onclause), **options)
    return f"{left} CROSS JOIN {right} ON {condition}"


def fetch(
    connection: Connection,
    table: Table,
    keys: Sequence[Record],
    *,
    lead: str,
    where: ColumnElement[bool] | None = None,
) -> Sequence[Row[Any]]:
    """The rows that have one of these keys. Every key names the same columns; `lead` is one that all share.

    where: a condition besides, made once: statements are kept by it.
    """
    if not keys:
        return ()
    others = tuple(name for name in keys[0] if name != lead)
    statement = _fetch(connection.dialect.name, table, others, lead, where)
    document = json.dumps([{name: key[name] for name in others} for key in keys])
    return connection.execute(statement, {"document": document, "lead": keys[0][lead]}).all()


def count(
    connection: Connection,
    table: Table,
    keys: Sequence[Record],
    *,
    lead: str,
    where: ColumnElement[bool] | None = None,
) -> dict[str, int]:
    """How many rows match each key, by the key's one value besides the lead; absent: none."""
    if not keys:
        return {}
    (name,) = (name for name in keys[0] if name != lead)
    statement = _count(connection.dialect.name, table, name, lead, where)
    document = json.dumps([{name: key[name]} for key in keys])
    rows = connection.execute(statement, {"document": document, "lead": keys[0][lead]})
    return {row[0]: row[1] for row in rows}


def insert_new(connection: Connection, table: Table, records: Sequence[Record]) -> None:
    """Inserts records whose keys are not there."""
    _write(connection, table, records, replace=False)


def upsert(connection: Connection, table: Table, records: Sequence[Record]) -> None:
    """Inserts records, or replaces the columns of those whose keys are there."""
    _write(connection, table, records, replace=True)


def _write(connection: Connection, table: Table, records: Sequence[Record], *, replace: bool) -> None:
    if not records:
        return
    if connection.dialect.name == "postgresql":
        statement = _insert_postgresql(table, tuple(records[0]), replace)
        connection.execute(statement, {"document": json.dumps(records)})
    else:
        connection.execute(_insert_sqlite(table, tuple(records[0]), replace), records)


@lru_cache(maxsize=64)
def _fetch(
    dialect: str, table: Table, names: tuple[str, ...], lead: str, where: ColumnElement[bool] | None
) -> Select[Any]:
    keys, value = keys_of(dialect, table, names)
    found = joined(keys, table, *(table.c[name] == value[name] for name in names), lead=lead)
    return found if where is None else found.where(where)


def joined(keys: FromClause, table: Table, *matches: ColumnElement[bool], lead: str) -> Select[Any]:
    """The rows of a table that match keys."""
    return select(*table.c).select_from(_InOrder(keys, table, and_(table.c[lead] == bindparam("lead"), *matches)))


def keys_of(
    dialect: str, table: Table, names: tuple[str, ...]
) -> tuple[TableValuedAlias, dict[str, ColumnElement[Any]]]:
    """The document of keys as a table, and its columns by name."""
    if dialect == "postgresql":
        records = _recordset(table, names)
        return records, {name: records.c[name] for name in names}
    each = func.json_each(bindparam("document")).table_valued("value", name="keys")
    return each, {name: func.json_extract(each.c.value, f"$.{name}") for name in names}


@lru_cache(maxsize=64)
def _count(dialect: str, table: Table, name: str, lead: str, where: ColumnElement[bool] | None) -> Select[Any]:
    keys, value = keys_of(dialect, table, (name,))
    mine = and_(table.c[lead] == bindparam("lead"), table.c[name] == value[name])
    rows = select(value[name], func.count()).select_from(_InOrder(keys, table, mine)).group_by(value[name])
    return rows if where is None else rows.where(where)


@lru_cache(maxsize=64)
def _insert_postgresql(table: Table, names: tuple[str, ...], replace: bool) -> Executable:
    records = _recordset(table, names)
    statement = postgresql.insert(table).from_select(names, select(*(records.c[name] for name in names)))
    if not replace:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: statement.excluded[name] for name in _payload(table, names)}
    )


@lru_cache(maxsize=64)
def _insert_sqlite(table: Table, names: tuple[str, ...], replace: bool) -> Executable:
    statement = sqlite.insert(table).values({name: bindparam(name) for name in names})
    if not replace:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={name: statement.excluded[name] for name in _payload(table, names)}
    )


def _recordset(table: Table, names: tuple[str, ...]) -> TableValuedAlias:
    document = cast(bindparam("document", type_=Text()), postgresql.JSON)
    typed = [column(name, table.c[name].type) for name in names]
    return func.json_to_recordset(document).table_valued(*typed, name="keys").render_derived(with_types=True)


def _payload(table: Table, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not table.c[name].primary_key]


def update_ids(
    connection: Connection, table: Table, name: str, ids: Sequence[str], values: Record, *, experiment_id: int
) -> None:
    """Sets columns in the rows of one experiment that have one of these ids."""
    if not ids:
        return
    keys, value = keys_of(connection.dialect.name, table, (name,))
    mine = (table.c.experiment_id == experiment_id, table.c[name].in_(select(value[name]).select_from(keys)))
    document = {"document": json.dumps([{name: each} for each in ids])}
    connection.execute(update(table).where(*mine).values(values), document)


def delete_ids(connection: Connection, table: Table, name: str, ids: Sequence[str], *, experiment_id: int) -> None:
    """Deletes the rows of one experiment that have one of these ids."""
    if not ids:
        return
    keys, value = keys_of(connection.dialect.name, table, (name,))
    statement = delete(table).where(
        table.c.experiment_id == experiment_id, table.c[name].in_(select(value[name]).select_from(keys))
    )
    connection.execute(statement, {"document": json.dumps([{name: each} for each in ids])})
