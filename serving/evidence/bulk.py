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
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
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


def fetch(connection: Connection, table: Table, keys: Sequence[Record], *, lead: str) -> Sequence[Row[Any]]:
    """The rows that have one of these keys. Every key names the same columns; `lead` is one that all share."""
    if not keys:
        return ()
    others = tuple(name for name in keys[0] if name != lead)
    statement = _fetch(connection.dialect.name, table, others, lead)
    document = json.dumps([{name: key[name] for name in others} for key in keys])
    return connection.execute(statement, {"document": document, "lead": keys[0][lead]}).all()


def count_within(
    connection: Connection, table: Table, keys: Sequence[Record], *, lead: str, span_us: int
) -> dict[tuple[Any, ...], int]:
    """How many rows match each key within `span_us` from its `from_us` on; by the key's values in their order."""
    if not keys:
        return {}
    others = tuple(name for name in keys[0] if name != lead)
    statement = _count(connection.dialect.name, table, others, lead)
    document = json.dumps([{name: key[name] for name in others} for key in keys])
    rows = connection.execute(statement, {"document": document, "lead": keys[0][lead], "span": span_us})
    return {tuple(row[:-1]): row[-1] for row in rows}


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
def _fetch(dialect: str, table: Table, names: tuple[str, ...], lead: str) -> Select[Any]:
    keys, value = _keys(dialect, table, names)
    matches = [table.c[name] == value[name] for name in names]
    return select(*table.c).select_from(_InOrder(keys, table, and_(table.c[lead] == bindparam("lead"), *matches)))


def _keys(dialect: str, table: Table, names: tuple[str, ...]) -> tuple[TableValuedAlias, dict[str, ColumnElement[Any]]]:
    """The document of keys as a table, and its columns by name."""
    if dialect == "postgresql":
        records = _recordset(table, names)
        return records, {name: records.c[name] for name in names}
    each = func.json_each(bindparam("document")).table_valued("value", name="keys")
    return each, {name: func.json_extract(each.c.value, f"$.{name}") for name in names}


@lru_cache(maxsize=64)
def _count(dialect: str, table: Table, names: tuple[str, ...], lead: str) -> Select[Any]:
    keys, value = _keys(dialect, table, names)
    begin = value["from_us"]
    within = and_(table.c.time_us >= begin, table.c.time_us < begin + bindparam("span", type_=BigInteger()))
    matches = [table.c[name] == value[name] for name in names if name != "from_us"]
    rows = _InOrder(keys, table, and_(table.c[lead] == bindparam("lead"), *matches, within))
    columns = [value[name] for name in names]
    return select(*columns, func.count()).select_from(rows).group_by(*columns)


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
    typed = [column(name, table.c[name].type if name in table.c else BigInteger()) for name in names]
    return func.json_to_recordset(document).table_valued(*typed, name="keys").render_derived(with_types=True)


def _payload(table: Table, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not table.c[name].primary_key]


def delete_ids(connection: Connection, table: Table, name: str, ids: Sequence[str], *, experiment_id: int) -> None:
    """Deletes the rows of one experiment that have one of these ids."""
    keys, value = _keys(connection.dialect.name, table, (name,))
    statement = delete(table).where(
        table.c.experiment_id == experiment_id, table.c[name].in_(select(value[name]).select_from(keys))
    )
    connection.execute(statement, {"document": json.dumps([{name: each} for each in ids])})
