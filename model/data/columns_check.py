"""What is wrong with the files and columns of a log, seen from the Parquet headers and the small node files."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from model.data.encoding import as_text
from model.data.finding import Finding, error, warning
from model.data.place import LogPlace
from model.data.raw import RawLog
from model.data.schema import Feature, LogSchema, NodeFile, Task, TimeColumn
from model.errors import UserError


def check_columns(place: LogPlace, schema: LogSchema) -> list[Finding]:
    """Missing files, missing columns, columns of a wrong type."""
    log, findings = schema.interactions, []
    raw = RawLog(place, schema)
    held: dict[str, pa.DataType] = {}
    for path in (*log.alongside, log.path):
        found = _columns(place, path)
        findings += found if isinstance(found, list) else []
        held |= found if isinstance(found, dict) else {}
    if not findings:
        files = ", ".join((log.path, *log.alongside))
        findings += _missing(files, raw.columns(), held)
        findings += _wrong_types(files, held, schema.label_columns, log.time, schema.features_of("context"))
        parts = [f for path in (log.path, *log.alongside) for f in _missing_in_parts(place, path, raw.columns())]
        findings += parts or _unequal_rows(place, schema)
    if schema.history is not None:
        history = _columns(place, schema.history.path)
        if isinstance(history, list):
            return findings + history
        labels = tuple(task.label_column for task in schema.tasks if task.name in schema.history.tasks)
        findings += _missing(schema.history.path, raw.history_columns(), history)
        findings += _missing_in_parts(place, schema.history.path, raw.history_columns())
        findings += _wrong_types(schema.history.path, history, labels, schema.history.time, ())
    return findings


def without_unreadable(place: LogPlace, schema: LogSchema) -> LogSchema | None:
    """The schema without the tasks and context features whose column is missing or of a wrong type, so that the rest of
    the rows can be checked. None where that leaves no task, or a file cannot be read."""
    held: dict[str, pa.DataType] = {}
    for path in (*schema.interactions.alongside, schema.interactions.path):
        found = _columns(place, path)
        if isinstance(found, list):
            return None
        held |= found
    tasks: list[Task] = []
    for task in schema.tasks:
        kind = held.get(task.label_column)
        if kind is not None and _is_number(kind) and task.given in {None, *(one.name for one in tasks)}:
            tasks.append(task)
    features = tuple(feature for feature in schema.features if feature.of != "context" or _fits(feature, held))
    if not tasks:
        return None
    names = {task.name for task in tasks}
    history = schema.history
    if history is not None:
        history = history.model_copy(update={"tasks": tuple(name for name in history.tasks if name in names)})
    return schema.model_copy(update={"tasks": tuple(tasks), "features": features, "history": history})


def _fits(feature: Feature, held: dict[str, pa.DataType]) -> bool:
    return feature.column is None or (
        feature.column in held and not _wrong_types("", held, labels=(), time=None, features=(feature,))
    )


def check_node_files(place: LogPlace, schema: LogSchema) -> list[Finding]:
    """Missing feature columns, features of a wrong type, absent and doubled keys of the users' and items' files."""
    findings: list[Finding] = []
    for owner, node_file in (("user", schema.users), ("item", schema.items)):
        if node_file is None:
            continue
        held = _columns(place, node_file.path)
        if isinstance(held, list):
            findings += held
            continue
        features = schema.features_of(owner)
        asked = (node_file.key, *(f.column for f in features if f.column is not None))
        missing = _missing(node_file.path, asked, held) + _missing_in_parts(place, node_file.path, asked)
        findings += missing
        findings += _wrong_types(node_file.path, held, (), None, features)
        if not missing:
            findings += _keys(place, node_file)
    return findings


def _columns(place: LogPlace, path: str) -> dict[str, pa.DataType] | list[Finding]:
    try:
        return place.column_types(path)
    except UserError as wrong:
        return [error(path, str(wrong))]


def _missing(where: str, asked: tuple[str, ...], held: dict[str, pa.DataType]) -> list[Finding]:
    there = ", ".join(sorted(held))
    return [
        error(where, f"column {column} is missing; the schema asks for it, the file has {there}")
        for column in dict.fromkeys(asked)
        if column not in held
    ]


def _missing_in_parts(place: LogPlace, path: str, asked: tuple[str, ...]) -> list[Finding]:
    """Columns that some files of a folder lack: Arrow would fill them with null in silence."""
    try:
        parts = place.part_columns(path)
    except UserError as wrong:
        return [error(path, str(wrong))]
    everywhere = frozenset().union(*parts.values())
    return [
        error(part, f"column {column} is missing; other files of {path} have it")
        for part, held in parts.items()
        for column in dict.fromkeys(asked)
        if column in everywhere and column not in held
    ]


def _wrong_types(
    where: str,
    held: dict[str, pa.DataType],
    labels: tuple[str, ...],
    time: TimeColumn | None,
    features: tuple[Feature, ...],
) -> list[Finding]:
    findings = [
        error(where, f"label column {column} is {_word(held[column])}; a label is a number, 0 or 1")
        for column in labels
        if column in held and not _is_number(held[column])
    ]
    moment = None if time is None else held.get(time.column)
    if time is not None and moment is not None and not (_is_number(moment) or pa.types.is_timestamp(moment)):
        right = f"write numbers in {time.unit} or timestamps"
        findings.append(error(where, f"time column {time.column} is {_word(moment)}; {right}"))
    for feature in features:
        kind = held.get(feature.column or "")
        if kind is None:
            continue
        if feature.kind == "dense" and not _is_number(kind):
            findings.append(
                error(where, f"feature {feature.name} is dense, yet {feature.column} is {_word(kind)}, no number")
            )
        elif feature.kind == "sparse" and _is_list(kind):
            findings.append(
                error(
                    where,
                    f"feature {feature.name} is sparse, yet {feature.column} is {_word(kind)}; lists need kind: multi",
                )
            )
    return findings


def _unequal_rows(place: LogPlace, schema: LogSchema) -> list[Finding]:
    log = schema.interactions
    rows = place.row_count(log.path)
    return [
        error(path, f"has {other} rows, {log.path} has {rows}; files alongside are joined row by row")
        for path in log.alongside
        if (other := place.row_count(path)) != rows
    ]


def _keys(place: LogPlace, node_file: NodeFile) -> list[Finding]:
    key = as_text(place.read(node_file.path, [node_file.key])[node_file.key])
    findings = []
    if key.null_count():
        findings.append(error(node_file.path, f"key {node_file.key} is null in {key.null_count():,} rows"))
    twice = key.drop_nulls().value_counts(name="rows").filter(pl.col("rows") > 1)
    if len(twice):
        example = twice.sort(twice.columns[0])[0, 0]
        says = f"{len(twice):,} keys stand more than once, {example} for one; the first row of each counts"
        findings.append(warning(node_file.path, says))
    return findings


def _word(kind: pa.DataType) -> str:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return "a list" if _is_list(kind) else str(kind)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
