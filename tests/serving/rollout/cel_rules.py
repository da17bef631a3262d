"""Evaluates a CRD's CEL rules on an object as the API server does: at each place of the schema, with its past."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from cel_expr_python import cel

Schema = dict[str, Any]
_TYPES = {"integer": cel.Type.INT, "number": cel.Type.DOUBLE, "string": cel.Type.STRING, "boolean": cel.Type.BOOL}


def broken(schema: Schema, new: object, old: object | None = None) -> list[str]:
    """Messages of the rules that the object breaks. A rule that names oldSelf holds for updates alone."""
    return [message for rule, self, before in _applied(schema, new, old) for message in _verdict(rule, self, before)]


def with_defaults(schema: Schema, value: Any) -> Any:
    """The object as the API server stores it: absent fields with a default filled in, from the outside in."""
    if isinstance(value, dict):
        filled = dict(value)
        for name, inner in schema.get("properties", {}).items():
            if name not in filled and "default" in inner:
                filled[name] = inner["default"]
            if name in filled:
                filled[name] = with_defaults(inner, filled[name])
        return filled
    if isinstance(value, list | tuple):
        return [with_defaults(schema.get("items", {}), each) for each in value]
    return value


def rules(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, str]]:
    """(path, schema at it, expression) of every rule."""
    for each in schema.get("x-kubernetes-validations", []):
        yield path, schema, each["rule"]
    for name, inner in schema.get("properties", {}).items():
        yield from rules(inner, f"{path}.{name}")
    if "items" in schema:
        yield from rules(schema["items"], f"{path}[]")


def _applied(schema: Schema, new: Any, old: Any) -> Iterator[tuple[Schema, Any, Any]]:
    for each in schema.get("x-kubernetes-validations", []):
        yield each, _typed(schema, new), None if old is None else _typed(schema, old)
    if isinstance(new, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in new:
                yield from _applied(inner, new[name], old.get(name) if isinstance(old, dict) else None)
    if isinstance(new, list):  # entries of an atomic list have no past
        for each in new:
            yield from _applied(schema.get("items", {}), each, None)


def _typed(schema: Schema, value: Any) -> Any:
    """Numbers as the schema types them: 0 in a `number` is 0.0 to CEL."""
    if isinstance(value, dict):
        return {name: _typed(schema.get("properties", {}).get(name, {}), each) for name, each in value.items()}
    if isinstance(value, list):
        return [_typed(schema.get("items", {}), each) for each in value]
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    return value


def _verdict(rule: Schema, self: Any, before: Any) -> list[str]:
    if "oldSelf" in rule["rule"] and before is None:
        return []
    data = {"self": self, "oldSelf": before if before is not None else {}}
    result = _compiled(rule["rule"]).eval(data=data)
    value = result.value()
    assert isinstance(value, bool), f"{rule['rule']}: {value!r}"
    return [] if value else [rule["message"]]


@cache
def _environment() -> cel.Env:
    # Of Kubernetes' own list library; everything else that the rules use is standard CEL.
    is_sorted = cel.FunctionDecl(
        "isSorted",
        [
            cel.Overload(
                "list_is_sorted",
                return_type=cel.Type.BOOL,
                parameters=[cel.Type.List(cel.Type.DYN)],
                is_member=True,
                impl=lambda values: _plain(values) == sorted(_plain(values)),
            )
        ],
    )
    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}, functions=[is_sorted])


def _plain(values: Any) -> list[Any]:
    listed = values.plain_value() if hasattr(values, "plain_value") else values
    return [each.plain_value() if hasattr(each, "plain_value") else each for each in listed]


@cache
def _compiled(expression: str) -> cel.Expression:
    return _environment().compile(expression)
