"""What an API server says of an object: its schema, and the fields that it would prune without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]


def errors(value: object, schema: Schema) -> list[str]:
    """Broken rules of the schema, then unknown fields, as paths."""
    broken = [
        f"{'.'.join(map(str, error.path))}: {error.message}"
        for error in Draft202012Validator(_plain(schema)).iter_errors(value)
    ]
    return broken + [f"{path}: unknown field" for path in _unknown(value, schema, "")]


def _plain(schema: Any) -> Any:
    """JSON Schema of a structural one: int-or-string and exclusive bounds spelled out, null where `nullable`."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key != "format"}
    if schema.get("x-kubernetes-int-or-string") is True:
        plain["type"] = ["integer", "string"]
        plain.pop("anyOf", None)
    for side in ("minimum", "maximum"):
        if plain.pop(f"exclusive{side.capitalize()}", None) is True:
            plain[f"exclusive{side.capitalize()}"] = plain.pop(side)
    if schema.get("nullable") is True and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
    return plain


def _unknown(value: object, schema: Schema, path: str) -> Iterator[str]:
    if isinstance(value, list) and "items" in schema:
        for place, each in enumerate(value):
            yield from _unknown(each, schema["items"], f"{path}[{place}]")
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields") is True:
        return
    properties = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    open_object = not properties and rest is None  # metadata: the server knows it better than the schema
    for name, each in value.items():
        if name in properties:
            yield from _unknown(each, properties[name], f"{path}.{name}")
        elif isinstance(rest, dict):
            yield from _unknown(each, rest, f"{path}.{name}")
        elif rest is not True and not open_object:
            yield f"{path}.{name}"
