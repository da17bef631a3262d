"""Reads schema files and finds the one that belongs to a log."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import ValidationError

from model.data.refused_field import refusal
from model.data.schema import LogSchema
from model.errors import UserError

SCHEMA_NAME = "schema.yaml"


class SchemaPlace(Protocol):
    """Of a log's place (model.data.place) what finding its schema takes: serving reads schemas, but never logs."""

    @property
    def name(self) -> str: ...

    @property
    def uri(self) -> str: ...

    def has_file(self, path: str) -> bool: ...

    def read_text(self, path: str) -> str: ...


def load_schema(path: Path) -> LogSchema:
    """The schema in the YAML file `path`. Raises UserError: one line with the field, its value, what would be right."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        shipped = ", ".join(_shipped_names())
        raise UserError(f"schema file {path} does not exist; name a file or a shipped schema ({shipped})") from None
    except OSError as error:
        raise UserError(f"schema file {path} cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"schema file {path} is not UTF-8 text") from None
    return parse_schema(text, str(path))


def parse_schema(text: str, where: str) -> LogSchema:
    """The schema in YAML `text`; `where` names it in errors. Raises UserError."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    if content is None:
        raise UserError(f"{where} is empty; a schema is a mapping with name, interactions, tasks")
    if not isinstance(content, dict):
        raise UserError(f"{where} holds {type(content).__name__}; a schema is a mapping with name, interactions, tasks")
    try:
        return LogSchema.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {_one_line(error)}") from None


def resolve_schema(place: SchemaPlace, schema: str | None) -> LogSchema:
    """The schema that `schema` names (a file, or a shipped one), else the log's, else the shipped one of its name."""
    if schema is not None:
        return _shipped(schema) if schema in _shipped_names() else load_schema(Path(schema))
    if place.has_file(SCHEMA_NAME):
        return parse_schema(place.read_text(SCHEMA_NAME), f"{place.name}/{SCHEMA_NAME}")
    if place.name in _shipped_names():
        return _shipped(place.name)
    raise UserError(
        f"log {place.uri} has no {SCHEMA_NAME}, and mgoe ships none named {place.name} "
        f"(shipped: {', '.join(_shipped_names())}); write one or pass --schema FILE"
    )


def dump_schema(schema: LogSchema) -> str:
    """The schema as YAML that `parse_schema` reads back to an equal one."""
    content: dict[str, Any] = schema.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump({"version": schema.version, **content}, sort_keys=False, allow_unicode=True)


def _shipped(name: str) -> LogSchema:
    text = files("model.data").joinpath("schemas", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_schema(text, f"shipped schema {name}.yaml")


def _shipped_names() -> list[str]:
    folder = files("model.data").joinpath("schemas")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _one_line(error: ValidationError) -> str:
    found = error.errors(include_url=False)
    first = found[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return " ".join(f"{field}: {refusal(first)}{more}".removeprefix(": ").split())
