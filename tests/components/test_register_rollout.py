"""The step that puts the registered pair under a rollout: in the local controller's store, and in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.events import EVENTS_VARIABLE, read_events
from components.register_rollout import work
from components.register_rollout.document import rollout_document
from components.step import STORED
from model.artifact.manifest import MANIFEST_NAME, Manifest, digest_of_files
from model.errors import UserError
from serving.rollout.desk import ClusterDesk
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.steering import aborted, paused
from tests.serving.rollout.kubernetes_double import KubernetesDouble

TEXT = """
apiVersion: mgoe.dev/v1alpha1
kind: ModelRollout
metadata: {name: feed}
spec:
  driver: {type: local, services: {baseline: mmoe, candidate: mgoe}}
  metrics: [{name: clicks, value: click, role: Primary}]
"""


def bundle(folder: Path, name: str, stored: str | None = None) -> Any:
    """A bundle's artifact as kfp hands it over."""
    files = {name: "0" * 64}
    manifest = Manifest(kind="bundle", made_by="test", files=files, digest=digest_of_files(files))
    (folder / name).mkdir(exist_ok=True)
    (folder / name / MANIFEST_NAME).write_text(manifest.model_dump_json())
    return SimpleNamespace(name=name, path=str(folder / name), metadata={} if stored is None else {STORED: stored})


def brought(folder: Path, candidate: str = "mgoe", text: str = TEXT) -> str:
    return work.run(
        bundle(folder, "mmoe"), bundle(folder, candidate), rollout=text, rollouts=str(folder / "rollouts.db")
    )


def test_the_rollout_names_both_bundles_by_address_and_digest(tmp_path: Path) -> None:
    assert brought(tmp_path) == "feed"
    spec = SqliteStore(tmp_path / "rollouts.db").read("feed").spec
    assert spec["candidate"] == {
        "bundle": (tmp_path / "mgoe").as_uri(),
        "digest": digest_of_files({"mgoe": "0" * 64}),
    }
    assert spec["baseline"]["digest"] == digest_of_files({"mmoe": "0" * 64})
    assert spec["driver"]["services"] == {"baseline": "mmoe", "candidate": "mgoe"}


def test_the_same_pair_again_changes_nothing(tmp_path: Path) -> None:
    brought(tmp_path)
    before = SqliteStore(tmp_path / "rollouts.db").read("feed")
    brought(tmp_path)
    assert SqliteStore(tmp_path / "rollouts.db").read("feed") == before


def test_another_pair_is_brought_to_the_rollout_that_is_there_and_leaves_peoples_wishes(tmp_path: Path) -> None:
    brought(tmp_path)
    store = SqliteStore(tmp_path / "rollouts.db")
    store.edit("feed", lambda spec: aborted(paused(spec, True)))
    brought(tmp_path, "mgoe-2")
    read = store.read("feed")
    assert read.generation == 3
    assert read.spec["candidate"]["digest"] == digest_of_files({"mgoe-2": "0" * 64})
    assert (read.spec["paused"], read.spec["abort"]) == (True, True)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (lambda spec: spec, ""),
        (lambda spec: paused(spec, True), "; paused is set, so that it will not ramp: resume it to let it"),
        (
            lambda spec: aborted(paused(spec, True)),
            "; abort is set, so that it will not start: set abort to false to let it",
        ),
    ],
    ids=["free", "paused", "aborted"],
)
def test_what_a_person_has_set_against_a_new_pair_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    brought(tmp_path)
    SqliteStore(tmp_path / "rollouts.db").edit("feed", wish)
    brought(tmp_path, "mgoe-2")
    assert list(read_events(tmp_path / "events.jsonl"))[-1].message == (
        f"feed: brought to this pair in {tmp_path / 'rollouts.db'}{told}"
    )


def test_one_bundle_as_both_models_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        brought(tmp_path, "mmoe")
    assert end.value.code == 2
    assert capsys.readouterr().err == "register rollout: spec: baseline and candidate name the same model\n"
    assert not (tmp_path / "rollouts.db").exists()


def in_cluster(monkeypatch: pytest.MonkeyPatch, *pairs: tuple[Any, Any]) -> KubernetesDouble:
    double = KubernetesDouble()

    async def run() -> None:
        async with double.served() as api:
            monkeypatch.setattr(work, "_cluster", lambda namespace: ClusterDesk(api, namespace or "ranking"))
            for pair in pairs:
                await asyncio.to_thread(work.run, *pair, rollout=TEXT, rollouts=None)

    asyncio.run(run())
    return double


def test_in_a_cluster_it_is_created_and_then_patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (bundle(tmp_path, name, f"s3://mgoe/package/{name}") for name in ("one", "two", "three"))
    double = in_cluster(monkeypatch, (first, second), (first, second), (first, third))
    spec = double.objects["modelrollouts", "ranking", "feed"]["spec"]
    assert spec["candidate"]["bundle"] == "s3://mgoe/package/three"
    path = "/apis/mgoe.dev/v1alpha1/namespaces/ranking/modelrollouts"
    assert double.writes == [f"POST {path}", f"PATCH {path}/feed"]


@pytest.mark.parametrize("stored", [None, "/mnt/store/package/one"])
def test_a_cluster_is_not_given_bundles_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = bundle(tmp_path, "one", stored), bundle(tmp_path, "two", stored)
    with pytest.raises(SystemExit):
        in_cluster(monkeypatch, pair)
    assert "rankers of a cluster cannot read it; give the pipeline a store on S3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "rollout.yaml is not YAML"),
        ("kind: Rollout", "a ModelRollout of mgoe.dev/v1alpha1 is expected"),
        (TEXT.replace("{name: feed}", "{}"), "metadata.name and spec are needed"),
        (TEXT.replace("name: feed", 'name: "Bad Name!"'), "metadata.name 'Bad Name!' is wrong: use at most 52 small"),
        (TEXT.replace("name: feed", f"name: {'a' * 53}"), "is wrong: use at most 52 small letters"),
        (TEXT.replace("feed}", "feed, namespace: A_b}"), "metadata.namespace 'A_b' is wrong: use at most 63 small"),
        (TEXT.replace("feed}", "feed, namespace: [a]}"), "metadata.namespace ['a'] is wrong: a text is expected"),
        (TEXT + "  candidate: {model: shop, alias: candidate}", "spec.candidate is what the pipeline fills in"),
        (TEXT + "  pasued: true", "spec.pasued: unknown field"),
        (TEXT.replace("Primary", "Secondary"), "spec: exactly one metric has the role Primary"),
    ],
)
def test_a_file_that_could_never_be_a_rollout_is_refused_before_anything_runs(text: str, told: str) -> None:
    with pytest.raises(UserError, match=r"^rollout\.yaml") as error:
        rollout_document(text, "rollout.yaml")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
