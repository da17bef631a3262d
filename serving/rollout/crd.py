"""The CustomResourceDefinition, rendered from the models of spec and status.

Pydantic writes JSON Schema; the API server wants a structural schema: one type at each place, no references, no null
alternatives, no closed objects (unknown fields are refused or pruned by the server itself), OpenAPI 3.0's exclusive
bounds. Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", sections on structural schemas,
defaulting and validation rules.
"""

from __future__ import annotations

from typing import Any

import yaml

from serving.rollout.resource import GROUP, KIND, PLURAL, VERSION
from serving.rollout.spec import ROOT_RULES, ModelRolloutSpec
from serving.rollout.status import ModelRolloutStatus

Schema = dict[str, Any]

COLUMNS = (
    ("Phase", "string", ".status.phase", 0, "State of the rollout"),
    ("Weight", "integer", ".status.weight", 0, "Percent that the candidate is to have"),
    ("Observed", "integer", ".status.observedWeight", 0, "Percent that the router has"),
    ("Verdict", "string", ".status.evidence.verdict", 0, "What the evidence says"),
    ("Reason", "string", ".status.reason", 0, "Last transition"),
    ("Paused", "boolean", ".spec.paused", 0, "Whether a person holds the weight"),
    ("Age", "date", ".metadata.creationTimestamp", 0, ""),
    ("Run", "string", ".status.run.id", 1, "What promote and weightOverride name"),
    ("Message", "string", ".status.message", 1, "The last transition's numbers"),
)
_HEADER = "# Rendered from serving/rollout by `python -m serving.rollout.golden`; not edited by hand.\n"


def definition() -> Schema:
    """The CRD as a document."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "mgoe"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mro"],
                "categories": ["all", "mgoe"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


def schema() -> Schema:
    """The structural schema of the whole object."""
    return {
        "description": "A rollout between two ranking models: an online experiment that moves traffic on proof.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(ModelRolloutSpec.model_json_schema(mode="validation")),
            "status": structural(ModelRolloutStatus.model_json_schema(mode="validation")),
        },
        "x-kubernetes-validations": [rule.to_json() for rule in ROOT_RULES],
    }


def _column(name: str, kind: str, path: str, priority: int, description: str) -> Schema:
    """priority: 0 is always shown, 1 with `-o wide`."""
    told = {"description": description} if description else {}
    return {"name": name, "type": kind, "jsonPath": path, "priority": priority, **told}


def rendered() -> str:
    """The CRD as YAML."""
    return _HEADER + yaml.safe_dump(definition(), sort_keys=False, width=120, allow_unicode=True)


def structural(document: Schema) -> Schema:
    """A structural schema of pydantic's JSON Schema."""
    return _structural(document, document.get("$defs", {}))


def _structural(node: Schema, definitions: Schema) -> Schema:
    node = _without_null(_resolved(node, definitions), definitions)
    made: Schema = {}
    for key in ("description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems"):
        if key in node:
            made[key] = node[key]
    if "const" in node:
        made["enum"] = [node["const"]]
    made.update(_bounds(node))
    if "items" in node:
        made["items"] = _structural(node["items"], definitions)
    if "properties" in node:
        made["properties"] = {name: _structural(each, definitions) for name, each in node["properties"].items()}
    if node.get("required"):
        made["required"] = node["required"]
    default = node.get("default")
    if default is not None:
        # An object's own fields have their defaults; {} lets the server fill them in.
        made["default"] = {} if isinstance(default, dict) else default
    made.update({key: value for key, value in node.items() if key.startswith("x-kubernetes-")})
    return made


def _resolved(node: Schema, definitions: Schema) -> Schema:
    """The node with its reference in place; what stands beside a reference (a default, a description) wins."""
    if "$ref" not in node:
        return node
    target = definitions[node["$ref"].removeprefix("#/$defs/")]
    return {**_resolved(target, definitions), **{key: value for key, value in node.items() if key != "$ref"}}


def _without_null(node: Schema, definitions: Schema) -> Schema:
    """The one alternative beside null: a field without a value is left out, never null."""
    if "anyOf" not in node:
        return node
    (alternative,) = [each for each in node["anyOf"] if each.get("type") != "null"]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**_resolved(alternative, definitions), **rest}


def _bounds(node: Schema) -> Schema:
    """Minimum and maximum; JSON Schema's exclusive bounds are numbers, OpenAPI 3.0's are flags."""
    made: Schema = {}
    for side in ("minimum", "maximum"):
        exclusive = f"exclusive{side.capitalize()}"
        if side in node:
            made[side] = node[side]
        elif exclusive in node:
            made[side] = node[exclusive]
            made[exclusive] = True
    return made
