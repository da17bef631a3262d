"""The CRD: rendered, accepted by the API's own schema, structural, and bounded so that its rules can be costed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from serving.rollout import crd, golden
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.status import ModelRolloutStatus
from tests.manifests.structural_schema import errors
from tests.serving.rollout.cel_rules import broken, with_defaults
from tests.serving.rollout.rollout_world import SPEC, World

Schema = dict[str, Any]
ALLOWED = {
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum",
    "maximum", "exclusiveMinimum", "exclusiveMaximum", "items", "properties", "required", "default",
}  # fmt: skip


def places(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}")
    if "items" in schema:
        yield from places(schema["items"], f"{path}[]")


@pytest.mark.parametrize("path", golden.FILES, ids=lambda path: path.name)
def test_what_is_rendered_is_what_is_committed(path: Any) -> None:
    """`python -m serving.rollout.golden` writes it anew."""
    assert path.read_text(encoding="utf-8") == golden.FILES[path]()


@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_the_definition_is_one_that_kubernetes_knows(version: str) -> None:
    kubernetes_validate.validate(crd.definition(), version, strict=True)


def test_the_schema_is_structural() -> None:
    for path, schema in places(crd.schema()):
        extra = {key for key in schema if key not in ALLOWED and not key.startswith("x-kubernetes-")}
        assert not extra, path
        assert schema.get("type") in {"object", "array", "string", "integer", "number", "boolean"}, path
        assert "default" not in schema or path.startswith((".spec", ".status")), path


def test_everything_that_a_rule_may_walk_over_is_bounded() -> None:
    """The API server refuses a rule whose estimated cost is too high; an unbounded list or text makes it so."""
    for path, schema in places(crd.schema()["properties"]["spec"]):
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema, path


def test_defaults_fill_in_what_the_models_fill_in() -> None:
    shortest = {name: SPEC[name] for name in ("baseline", "candidate", "driver", "metrics")}
    filled = with_defaults(crd.schema(), {"metadata": {"name": "feed"}, "spec": shortest})
    assert ModelRolloutSpec.model_validate(filled["spec"]) == ModelRolloutSpec.model_validate(shortest)
    assert errors(filled, crd.schema()) == []


def test_a_status_of_every_field_fits_the_schema() -> None:
    status = ModelRolloutStatus.model_validate({**World().state, "observedGeneration": 3, "observedWeight": 5})
    resource = {"metadata": {"name": "feed"}, "spec": SPEC, "status": status.to_json()}
    assert errors(resource, crd.schema()) == []


@pytest.mark.parametrize("path", sorted((golden.ROOT / "manifests" / "samples").glob("modelrollout*.yaml")))
def test_samples_are_accepted(path: Any) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        resource = with_defaults(crd.schema(), document)
        assert errors(resource, crd.schema()) == []
        assert broken(crd.schema(), resource) == []
        ModelRolloutSpec.model_validate(document["spec"])
