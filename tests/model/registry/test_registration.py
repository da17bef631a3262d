from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.artifact.manifest import read_manifest
from model.artifact.writer import ArtifactWriter
from model.errors import UserError
from model.registry.gate import Gate, GateRefused
from model.registry.mlflow_registry import MlflowRegistry
from model.registry.run import Packaged, register

MakePair = Callable[..., Any]
WORSE = (0.70, 0.60, -0.2)


def test_a_pair_is_registered_under_its_aliases_with_tags_that_lead_back(pair: Any, tracking_uri: str) -> None:
    done = register(pair.baseline, pair.candidate, pair.comparison, tracking_uri, Gate(), "run-42")
    assert (done.baseline.aliases, done.candidate.aliases) == (("baseline",), ("candidate",))
    assert done.candidate.uri == pair.candidate.as_uri()
    tags = dict(done.candidate.tags)
    assert tags.pop("comparison_digest")
    assert tags == {
        "model_digest": pair.manifests[1].digest,
        "run_id": "run-candidate",
        "architecture": "candidate",
        "graph_version": "graph-7",
        "graph_digest": "graph-digest",
        "data_digest": "log-digest",
        "evaluation_digest": "ec",
        "pipeline_run": "run-42",
    }
    assert "graph_version" not in done.baseline.tags
    assert (str(done.baseline), str(done.candidate)) == ("1", "2")


def bundle_of(model: Path, out: Path) -> Path:
    with ArtifactWriter(out, "bundle", "test", [read_manifest(model).source()]) as writer:
        (writer.path / "weights").write_text("packaged")
    return out


def test_a_version_says_which_bundle_serves_it_and_where_that_is(pair: Any, tracking_uri: str, tmp_path: Path) -> None:
    first, second = bundle_of(pair.baseline, tmp_path / "first"), bundle_of(pair.candidate, tmp_path / "second")
    packaged = (Packaged(first), Packaged(second, "s3://bucket/package/key"))
    done = register(pair.baseline, pair.candidate, pair.comparison, tracking_uri, Gate(), packaged=packaged)
    assert done.baseline.tags["bundle_digest"] == read_manifest(first).digest
    assert done.baseline.tags["bundle_uri"] == first.as_uri()
    assert done.candidate.tags["bundle_uri"] == "s3://bucket/package/key"


def test_the_bundle_of_another_model_is_refused(pair: Any, tracking_uri: str, tmp_path: Path) -> None:
    packaged = [Packaged(bundle_of(pair.candidate, tmp_path / name)) for name in ("first", "second")]
    with pytest.raises(UserError, match=r"was not made of model .* package that model first"):
        register(pair.baseline, pair.candidate, pair.comparison, tracking_uri, Gate(), packaged=packaged)
    assert MlflowRegistry(tracking_uri).versions("mgoe") == []


def test_registering_the_same_pair_again_gives_the_same_versions(pair: Any, tracking_uri: str) -> None:
    folders = (pair.baseline, pair.candidate, pair.comparison)
    assert register(*folders, tracking_uri, Gate()) == register(*folders, tracking_uri, Gate())
    assert len(MlflowRegistry(tracking_uri).versions("mgoe")) == 2


def test_a_new_candidate_takes_the_alias_from_the_old_one(make_pair: MakePair, tracking_uri: str) -> None:
    for weights in ("first", "second"):
        pair = make_pair(candidate=weights)
        done = register(pair.baseline, pair.candidate, pair.comparison, tracking_uri, Gate())
    assert done.candidate.number == 3
    assert done.candidate.tags["previous_candidate"] == "2"
    versions = MlflowRegistry(tracking_uri).versions("mgoe")
    assert [version.aliases for version in versions] == [("baseline",), (), ("candidate",)]


def test_the_first_baseline_takes_its_alias_though_its_candidate_is_refused(
    make_pair: MakePair, tracking_uri: str
) -> None:
    pair = make_pair(auc_like=WORSE)
    said = r"baseline registered as version 1; candidate mgoe is not registered: AUC of like falls by 0\.1000"
    for _ in range(2):
        with pytest.raises(GateRefused, match=said):
            register(pair.baseline, pair.candidate, pair.comparison, tracking_uri, Gate())
    versions = MlflowRegistry(tracking_uri).versions("mgoe")
    assert [(version.aliases, version.digest) for version in versions] == [(("baseline",), pair.manifests[0].digest)]


def test_a_refused_candidate_leaves_both_aliases_at_what_is_live(make_pair: MakePair, tracking_uri: str) -> None:
    good, bad = make_pair(), make_pair(baseline="anew", candidate="worse", auc_like=WORSE)
    register(good.baseline, good.candidate, good.comparison, tracking_uri, Gate())
    said = r"baseline registered as version 3 without an alias \(`baseline` stays at version 1\); candidate mgoe"
    with pytest.raises(GateRefused, match=said):
        register(bad.baseline, bad.candidate, bad.comparison, tracking_uri, Gate())
    versions = MlflowRegistry(tracking_uri).versions("mgoe")
    assert [version.aliases for version in versions] == [("baseline",), ("candidate",), ()]
    assert versions[2].digest == bad.manifests[0].digest


def test_a_registered_candidate_that_a_stricter_gate_refuses_loses_its_alias(pair: Any, tracking_uri: str) -> None:
    folders = (pair.baseline, pair.candidate, pair.comparison)
    register(*folders, tracking_uri, Gate())
    strict = Gate(min_mean_auc_lift=0.5)
    with pytest.raises(GateRefused, match=r"candidate mgoe is not registered: mean AUC .*; version 2 loses the alias"):
        register(*folders, tracking_uri, strict)
    versions = MlflowRegistry(tracking_uri).versions("mgoe")
    assert [version.aliases for version in versions] == [("baseline",), ()]
    with pytest.raises(GateRefused) as again:
        register(*folders, tracking_uri, strict)
    assert "loses" not in str(again.value)
    assert register(*folders, tracking_uri, Gate()).candidate.aliases == ("candidate",)


def test_a_gate_that_asks_for_it_moves_the_baseline_of_a_refused_candidate(
    make_pair: MakePair, tracking_uri: str
) -> None:
    good, bad = make_pair(), make_pair(baseline="anew", auc_like=WORSE)
    register(good.baseline, good.candidate, good.comparison, tracking_uri, Gate())
    with pytest.raises(GateRefused, match="baseline registered as version 3; candidate mgoe"):
        register(bad.baseline, bad.candidate, bad.comparison, tracking_uri, Gate(move_baseline="always"))
    baseline = MlflowRegistry(tracking_uri).by_alias("mgoe", "baseline")
    assert baseline is not None
    assert (baseline.number, baseline.tags["previous_baseline"]) == (3, "1")


def test_a_comparison_of_other_models_is_refused_before_anything_is_registered(
    make_pair: MakePair, tracking_uri: str
) -> None:
    pair, other = make_pair(), make_pair(candidate="other")
    with pytest.raises(UserError, match=r"is not the one that was compared as mgoe .*; compare these models first"):
        register(pair.baseline, other.candidate, pair.comparison, tracking_uri, Gate())
    assert MlflowRegistry(tracking_uri).versions("mgoe") == []


def test_an_artifact_of_another_kind_is_refused(pair: Any, tracking_uri: str) -> None:
    with pytest.raises(UserError, match="holds a model artifact, and a comparison one is wanted here"):
        register(pair.baseline, pair.candidate, pair.candidate, tracking_uri, Gate())
    swapped = replace(pair, baseline=pair.comparison)
    with pytest.raises(UserError, match="holds a comparison artifact, and a model one is wanted here"):
        register(swapped.baseline, swapped.candidate, swapped.comparison, tracking_uri, Gate())


def test_a_broken_model_is_refused_before_anything_is_registered(pair: Any, tracking_uri: str) -> None:
    (pair.candidate / "weights").write_text("flipped")
    with pytest.raises(UserError, match="file weights is broken"):
        register(pair.baseline, pair.candidate, pair.comparison, tracking_uri, Gate())
    assert MlflowRegistry(tracking_uri).versions("mgoe") == []
