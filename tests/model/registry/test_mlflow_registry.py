from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.errors import UserError
from model.registry.mlflow_registry import MlflowRegistry
from model.registry.model_registry import ModelRegistry, Version

DIGEST = "model_digest"
REGISTER = """
import sys
from model.registry.mlflow_registry import MlflowRegistry
version = MlflowRegistry(sys.argv[1]).register("mgoe", "file:///models/x", {"model_digest": sys.argv[2]})
print(version.number)
"""


@pytest.fixture
def registry(tracking_uri: str) -> ModelRegistry:
    return MlflowRegistry(tracking_uri)


def put(registry: ModelRegistry, digest: str, **tags: str) -> Version:
    return registry.register("mgoe", f"file:///models/{digest}", {DIGEST: digest, **tags})


def test_versions_count_from_one_and_keep_their_tags(registry: ModelRegistry) -> None:
    first, second = put(registry, "a", run_id="r1"), put(registry, "b", graph_version="g2")
    assert (first.number, second.number) == (1, 2)
    assert first.uri == "file:///models/a"
    assert dict(first.tags) == {DIGEST: "a", "run_id": "r1"}
    assert registry.versions("mgoe") == [first, second]
    assert registry.get("mgoe", 2) == second


def test_the_same_model_gets_the_same_version_and_the_newest_tags(registry: ModelRegistry) -> None:
    first = put(registry, "a", evaluation_digest="e1", run_id="r1")
    again = put(registry, "a", evaluation_digest="e2")
    assert again.number == first.number
    assert dict(again.tags) == {DIGEST: "a", "run_id": "r1", "evaluation_digest": "e2"}
    assert len(registry.versions("mgoe")) == 1


def test_an_alias_points_at_one_version_and_moves(registry: ModelRegistry) -> None:
    put(registry, "a")
    put(registry, "b")
    assert registry.by_alias("mgoe", "baseline") is None
    registry.set_alias("mgoe", "baseline", 1)
    registry.set_alias("mgoe", "candidate", 1)
    assert registry.get("mgoe", 1).aliases == ("baseline", "candidate")
    registry.set_alias("mgoe", "candidate", 2)
    assert [version.aliases for version in registry.versions("mgoe")] == [("baseline",), ("candidate",)]
    assert registry.by_alias("mgoe", "candidate") == registry.get("mgoe", 2)


def test_names_are_apart(registry: ModelRegistry) -> None:
    put(registry, "a")
    other = registry.register("other", "file:///models/a", {DIGEST: "a"})
    assert other.number == 1
    assert registry.names() == ["mgoe", "other"]
    assert registry.by_alias("nobody", "baseline") is None
    assert registry.versions("nobody") == []


def test_a_version_that_is_not_there_is_named(registry: ModelRegistry) -> None:
    put(registry, "a")
    with pytest.raises(UserError, match="has no version 7 of model 'mgoe'"):
        registry.get("mgoe", 7)
    with pytest.raises(UserError, match="has no version 7 of model 'mgoe'"):
        registry.set_alias("mgoe", "baseline", 7)


@pytest.mark.parametrize("name", ["", "a/b", "it's", "a b", "-x"])
def test_a_name_that_is_no_plain_word_is_refused(registry: ModelRegistry, name: str) -> None:
    with pytest.raises(UserError, match=r"model name .* is wrong"):
        registry.register(name, "file:///x", {DIGEST: "a"})


def test_more_versions_than_one_page_are_all_listed(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.registry.mlflow_registry._PAGE", 2)
    for digest in "abcde":
        put(registry, digest)
    assert [version.digest for version in registry.versions("mgoe")] == list("abcde")


@pytest.mark.slow
def test_two_processes_may_make_the_database_and_register_the_same_model_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/registry.db"
    command = [sys.executable, "-c", REGISTER, uri, "same"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs == [(b"1\n", b""), (b"1\n", b"")]  # and MLflow is quiet
    assert [version.number for version in MlflowRegistry(uri).versions("mgoe")] == [1]
