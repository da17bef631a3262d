"""A rollout's end moves the alias of what is in production, once, with a note that leads back to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from model.errors import Fault, UserError
from model.registry import promotion
from model.registry.alias import move, roll_back
from model.registry.mlflow_registry import MlflowRegistry
from model.registry.model_registry import ModelRegistry, Version
from model.registry.promotion import promote, promotion_tag

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OLD, NEW = "0" * 64, "1" * 64


@pytest.fixture
def registry(tracking_uri: str) -> ModelRegistry:
    """Version 1 is the baseline, version 2 the candidate."""
    made = MlflowRegistry(tracking_uri)
    for alias, digest in (("baseline", OLD), ("candidate", NEW)):
        made.register("mgoe", "file:///x", {"model_digest": digest, "bundle_digest": digest})
        move(made, alias, made.versions("mgoe")[-1])  # type: ignore[arg-type]
    return made


def live(registry: ModelRegistry) -> Version:
    found = registry.by_alias("mgoe", "baseline")
    assert found is not None
    return found


def test_the_promoted_version_is_the_baseline_and_says_who_made_it_one_and_what_was_before(
    registry: ModelRegistry,
) -> None:
    promoted = promote(registry, NEW, "feed.1", NOON)
    assert live(registry).number == promoted.number == 2
    assert promoted.tags[promotion_tag("feed.1")] == "2026-11-22T12:00:00Z"
    assert roll_back(registry, "mgoe", "baseline").number == 1


def test_a_run_promotes_once_whatever_the_alias_says_since(registry: ModelRegistry) -> None:
    promote(registry, NEW, "feed.1", NOON)
    roll_back(registry, "mgoe", "baseline")
    again = promote(registry, NEW, "feed.1", NOON.replace(hour=13))
    assert live(registry).number == 1
    assert again.tags[promotion_tag("feed.1")] == "2026-11-22T12:00:00Z"
    promote(registry, NEW, "feed.2", NOON)
    assert live(registry).number == 2


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_one_that_dies_between_two_writes_is_gone_on_from(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    writes: list[str] = []
    register, set_alias = MlflowRegistry.register, MlflowRegistry.set_alias

    def count(what: str) -> None:
        writes.append(what)
        if len(writes) == dies_at:
            raise Fault("killed")

    def noted(self: MlflowRegistry, name: str, uri: str, tags: Mapping[str, str]) -> Version:
        count("tags")
        return register(self, name, uri, tags)

    def pointed(self: MlflowRegistry, name: str, alias: str, number: int) -> None:
        count("alias")
        set_alias(self, name, alias, number)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowRegistry, "register", noted)
        patched.setattr(MlflowRegistry, "set_alias", pointed)
        with pytest.raises(Fault, match="killed"):
            promote(registry, NEW, "feed.1", NOON)
    assert live(registry).number == (2 if dies_at == 3 else 1)
    promote(registry, NEW, "feed.1", NOON)
    assert live(registry).number == 2
    assert roll_back(registry, "mgoe", "baseline").number == 1


def test_a_bundle_that_nobody_registered_is_told(registry: ModelRegistry) -> None:
    with pytest.raises(UserError, match="the registry has no version with the bundle ffffffffffff"):
        promotion.promote(registry, "f" * 64, "feed.1", NOON)
    assert live(registry).number == 1
