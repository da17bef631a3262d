"""The aliases that a rollout reads, and the way back when one was moved too early."""

from __future__ import annotations

from typing import Literal

from model.errors import UserError
from model.registry.model_registry import ModelRegistry, Version

Alias = Literal["baseline", "candidate"]


def previous_tag(alias: str) -> str:
    """Tag on a version: the number of the version that the alias pointed at before it."""
    return f"previous_{alias}"


def move(registry: ModelRegistry, alias: Alias, version: Version) -> Version:
    """Points the alias at the version, and notes on it which one it was taken from."""
    before = registry.by_alias(version.name, alias)
    if before is not None and before.number != version.number:
        registry.register(version.name, version.uri, {**version.tags, previous_tag(alias): str(before.number)})
    registry.set_alias(version.name, alias, version.number)
    return registry.get(version.name, version.number)


def roll_back(registry: ModelRegistry, name: str, alias: Alias) -> Version:
    """Points the alias at the version it pointed at before. Raises UserError where there is none."""
    now = registry.by_alias(name, alias)
    if now is None:
        raise UserError(f"model {name!r} has no version with the alias {alias!r}")
    before = now.tags.get(previous_tag(alias))
    if before is None:
        raise UserError(f"alias {alias!r} of model {name!r} has always pointed at version {now.number}")
    registry.set_alias(name, alias, int(before))
    return registry.get(name, int(before))
