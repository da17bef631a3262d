from __future__ import annotations

import pytest

from model.errors import UserError
from model.registry.alias import move, roll_back
from model.registry.mlflow_registry import MlflowRegistry
from model.registry.model_registry import ModelRegistry, Version


@pytest.fixture
def registry(tracking_uri: str) -> ModelRegistry:
    return MlflowRegistry(tracking_uri)


def put(registry: ModelRegistry, digest: str) -> Version:
    return registry.register("mgoe", "file:///x", {"model_digest": digest})


def test_an_alias_that_moved_can_be_moved_back_and_forth(registry: ModelRegistry) -> None:
    first, second = put(registry, "a"), put(registry, "b")
    assert move(registry, "candidate", first).aliases == ("candidate",)
    assert move(registry, "candidate", second).aliases == ("candidate",)
    assert roll_back(registry, "mgoe", "candidate").number == 1
    move(registry, "candidate", registry.get("mgoe", 2))
    assert roll_back(registry, "mgoe", "candidate").number == 1


def test_moving_an_alias_to_where_it_is_keeps_the_way_back(registry: ModelRegistry) -> None:
    move(registry, "baseline", put(registry, "a"))
    second = move(registry, "baseline", put(registry, "b"))
    move(registry, "baseline", second)
    assert roll_back(registry, "mgoe", "baseline").number == 1


def test_each_alias_has_a_way_back_of_its_own(registry: ModelRegistry) -> None:
    move(registry, "baseline", put(registry, "a"))
    move(registry, "candidate", put(registry, "b"))
    move(registry, "baseline", registry.get("mgoe", 2))
    assert roll_back(registry, "mgoe", "baseline").number == 1
    with pytest.raises(UserError, match="alias 'candidate' of model 'mgoe' has always pointed at version 2"):
        roll_back(registry, "mgoe", "candidate")


def test_an_alias_that_points_nowhere_cannot_be_moved_back(registry: ModelRegistry) -> None:
    with pytest.raises(UserError, match="model 'mgoe' has no version with the alias 'candidate'"):
        roll_back(registry, "mgoe", "candidate")
