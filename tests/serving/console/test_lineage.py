"""Where a model comes from: what its bundle says, where it can be read, and why not where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.console.lineage import ArmLineage, Lineages
from serving.console.wish import Sight
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.status import ModelRolloutStatus
from tests.serving.console.console_world import CANDIDATE, SPEC


def manifest(**changes: object) -> dict[str, Any]:
    return {
        "kind": "bundle",
        "made_by": "mgoe bundle package",
        "made_from": [{"kind": "macro-graph", "digest": "g" * 8}, {"kind": "log", "digest": "d" * 8}],
        "files": {},
        "facts": {
            "graph_version": "900a",
            "run_id": "",
            "log": "d" * 8,
            "tasks": ["click", "buy"],
            "utility": {"a": 1},
        },
        "digest": CANDIDATE,
        **changes,
    }


def candidate(bundle: object) -> ArmLineage:
    spec = ModelRolloutSpec.model_validate({**SPEC, "candidate": bundle})
    return Lineages().of(Sight("feed", 1, spec, ModelRolloutStatus()))[1]


def test_sources_and_facts_are_told_once_and_empty_ones_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    told = candidate({"bundle": f"file://{tmp_path}", "digest": CANDIDATE})
    facts = {fact.name: fact.value for fact in told.facts}
    assert facts["graph digest"] == "g" * 8
    assert facts["data digest"] == "d" * 8
    assert (facts["graph version"], facts["tasks"], facts["utility"]) == ("900a", "click, buy", "a 1")
    assert not {"run id", "log"} & set(facts)
    assert told.problem is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(manifest(digest="e" * 64)), "the folder now holds another bundle (eeeeeeeeeeee)"),
        ("no json", "its manifest cannot be read"),
        (json.dumps(manifest(files={"../x": "y"})), "its manifest cannot be read"),
        (" " * (5 * 2**20), "its manifest is too large to be one"),
    ],
)
def test_a_manifest_that_is_not_the_runs_is_not_shown(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    told = candidate({"bundle": f"file://{tmp_path}", "digest": CANDIDATE})
    assert (told.problem or "").startswith(said)
    assert {fact.name for fact in told.facts} == {"bundle", "bundle digest"}


def test_an_alias_is_told_as_such_and_a_bundle_elsewhere_with_its_address() -> None:
    told = candidate({"model": "mgoe", "alias": "candidate"})
    assert [(fact.name, fact.value) for fact in told.facts] == [("registered model", "mgoe, alias candidate")]
    elsewhere = candidate({"bundle": "s3://mgoe/bundles/mgoe", "digest": CANDIDATE})
    assert elsewhere.problem == "its manifest is not on this machine"
