"""What every model of the resource shares: camelCase on the wire, unknown fields refused, values frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "mgoe.dev"
VERSION = "v1alpha1"
KIND = "ModelRollout"
PLURAL = "modelrollouts"
LONGEST_NAME = 52
"""Characters of a rollout's name: names of children add to it."""


class Part(BaseModel):
    """A part of the resource. Field names are snake_case here and camelCase in YAML."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> dict[str, JsonValue]:
        """The part as the API server keeps it; fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class Rule:
    """A CEL rule of the API server, with the sentence that a person reads when it is broken."""

    expression: str
    message: str

    def to_json(self) -> dict[str, JsonValue]:
        """As an entry of x-kubernetes-validations."""
        return {"rule": self.expression, "message": self.message}


def ruled(*rules: Rule) -> ConfigDict:
    """Settings of a part whose fields must fit together."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [rule.to_json() for rule in rules]})


def list_map(key: str) -> dict[str, JsonValue]:
    """Schema of a list whose entries are told apart by a field: no two alike, and merged one by one on apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _to_seconds(value: object) -> object:
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    return value


def _to_text(value: float) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[
    float,
    BeforeValidator(_to_seconds),
    PlainSerializer(_to_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Unix seconds in the code, RFC 3339 with microseconds on the wire."""
