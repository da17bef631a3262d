"""The registered version behind a bundle: known at once or asked aside, with links where the registry has pages."""

from __future__ import annotations

import errno
import json
import sys
import threading
from pathlib import Path

import httpx
import pytest

from model.errors import Fault
from model.registry.mlflow_registry import MlflowRegistry
from model.training.mlflow_client import open_client
from serving.console.lineage import Lineages
from serving.console.registered import (
    ASKED,
    FRESH_S,
    Registered,
    RegisteredVersions,
    asked_at,
    filter_of,
    from_command,
    from_server,
)
from serving.console.wish import Sight
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.status import ModelRolloutStatus
from tests.serving.console.console_world import CANDIDATE, SPEC

VERSION = Registered("mgoe", 2, ("baseline", "candidate"), "run-1", ("feed.1 at noon",), "http://m/v", "http://m/r")


def wait(versions: RegisteredVersions) -> None:
    for thread in [each for each in threading.enumerate() if each.name == "registry"]:
        thread.join(60)
    assert not versions._asking


def test_a_page_never_waits_and_an_old_answer_is_shown_while_it_is_asked_for_again() -> None:
    now, may, asked = [0.0], threading.Event(), []

    def ask(digest: str) -> Registered:
        asked.append(digest)
        assert may.wait(60)
        if len(asked) > 1:
            raise Fault("the registry does not answer")
        return VERSION

    versions = RegisteredVersions(ask, lambda: now[0])
    assert versions.of("a") == versions.of("a") == ASKED
    may.set()
    wait(versions)
    assert versions.of("a") == VERSION
    assert asked == ["a"]
    may.clear()
    now[0] = FRESH_S + 1
    assert versions.of("a") == VERSION
    may.set()
    wait(versions)
    assert versions.of("a") == "the registry does not answer"


def test_an_error_that_nobody_foresaw_is_an_answer_too_and_not_asked_for_at_every_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = []

    def ask(digest: str) -> Registered:
        asked.append(digest)
        raise OSError(errno.EMFILE, "Too many open files")

    versions = RegisteredVersions(ask, lambda: 0.0)
    for _ in range(3):
        versions.of("a")
        wait(versions)
    assert versions.of("a") == "the registry could not be asked: OSError"
    assert asked == ["a"]
    assert "Too many open files" in caplog.text


def test_the_lineage_names_version_aliases_run_and_who_promoted_it() -> None:
    versions = RegisteredVersions(lambda _: VERSION)
    versions.of(CANDIDATE)
    wait(versions)
    spec = ModelRolloutSpec.model_validate({**SPEC, "candidate": {"bundle": "s3://b/mgoe", "digest": CANDIDATE}})
    arm = Lineages(versions).of(Sight("feed", 1, spec, ModelRolloutStatus()))[1]
    told = {fact.name: (fact.value, fact.link) for fact in arm.facts}
    assert told["registry"] == ("mgoe version 2, alias baseline and candidate", "http://m/v")
    assert told["MLflow run"] == ("run-1", "http://m/r")
    assert told["made the baseline by"] == ("feed.1 at noon", None)


def server(versions: list[dict[str, object]]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("model-versions/search"):
            assert request.url.params["filter"] == filter_of("b" * 64)
            return httpx.Response(200, json={"model_versions": versions} if versions else {})
        if request.url.path.endswith("registered-models/get"):
            aliases = [{"alias": "baseline", "version": "2"}, {"alias": "candidate", "version": "1"}]
            return httpx.Response(200, json={"registered_model": {"name": "shop feed", "aliases": aliases}})
        return httpx.Response(200, json={"run": {"info": {"experiment_id": "7"}}})

    return httpx.Client(base_url="http://mlflow:5000", transport=httpx.MockTransport(answer))


def test_a_server_gives_links_to_its_pages() -> None:
    tags = [{"key": "promoted_by.feed.1", "value": "2026-11-22T12:00:00Z"}]
    version: dict[str, object] = {"name": "shop feed", "version": "2", "run_id": "r1", "tags": tags}
    found = from_server(server([version | {"version": "1"}, version]), "b" * 64)
    assert (found.number, found.aliases, found.run) == (2, ("baseline",), "r1")
    assert found.promotions == ("feed.1 at 2026-11-22T12:00:00Z",)
    assert found.page == "http://mlflow:5000/#/models/shop%20feed/versions/2"
    assert found.run_page == "http://mlflow:5000/#/experiments/7/runs/r1"


def test_what_a_server_does_not_know_or_answers_wrongly_is_one_line() -> None:
    with pytest.raises(Fault, match="the registry has no version with the bundle bbbbbbbbbbbb"):
        from_server(server([]), "b" * 64)
    with pytest.raises(Fault, match="cannot be read"):
        from_server(server([{"version": "one"}]), "b" * 64)
    with pytest.raises(Fault, match="does not answer"):
        asked_at("http://127.0.0.1:1")("b" * 64)


def test_mlflow_finds_a_bundle_by_that_search_and_the_command_tells_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.console.registered.ASK_S", 900.0)  # whatever else the machine does
    uri = f"sqlite:///{tmp_path}/registry.db"
    registry = MlflowRegistry(uri)
    for number in "ab":
        registry.register("mgoe", "file:///x", {"model_digest": number, "bundle_digest": number * 64, "run_id": "r"})
    registry.set_alias("mgoe", "baseline", 2)
    assert [int(each.version) for each in open_client(uri).search_model_versions(filter_of("b" * 64))] == [2]
    assert from_command(uri, "b" * 64) == Registered("mgoe", 2, ("baseline",), "r")


def test_a_command_that_says_nothing_readable_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))
    for says, told in (
        ("echo '{}'", "cannot be read"),
        (f"echo '{json.dumps(1)}'", "cannot be read"),
        ("exit 1", "said"),
    ):
        script.write_text(f"#!/bin/sh\n{says}\n")
        script.chmod(0o755)
        with pytest.raises(Fault, match=told):
            from_command("sqlite:///x", "b" * 64)
