"""A ModelRollout that lacks its pair of models, and what becomes of it when the pair is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from components.object_name import LONGEST_LABEL, check_name
from model.errors import UserError
from serving.rollout.resource import GROUP, KIND, LONGEST_NAME, VERSION
from serving.rollout.spec import ModelSource
from serving.rollout.sqlite_store import checked

ARMS = ("baseline", "candidate")
_ANY = {arm: {"bundle": "file:///bundle", "digest": digest * 64} for arm, digest in zip(ARMS, "ab", strict=True)}


@dataclass(frozen=True)
class RolloutDocument:
    """Everything of a rollout but its models."""

    name: str
    namespace: str | None
    spec: Mapping[str, Any]

    def of_pair(self, baseline: ModelSource, candidate: ModelSource) -> dict[str, Any]:
        """The whole spec, without defaults: what the file does not name is left to people. Raises UserError where it
        does not fit, as for one bundle that is both."""
        spec = {**self.spec, "baseline": baseline.to_json(), "candidate": candidate.to_json()}
        checked(spec)
        return spec


def rollout_document(text: str, source: str) -> RolloutDocument:
    """Read one. Raises UserError with one line that begins with `source`."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    expected = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND}
    if not isinstance(document, dict) or any(document.get(name) != value for name, value in expected.items()):
        raise UserError(f"{source}: a {KIND} of {GROUP}/{VERSION} is expected")
    metadata, spec = document.get("metadata"), document.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not isinstance(spec, dict):
        raise UserError(f"{source}: metadata.name and spec are needed")
    namespace = metadata.get("namespace")
    _check_name(source, "metadata.name", metadata["name"], LONGEST_NAME)
    if namespace is not None:
        _check_name(source, "metadata.namespace", namespace, LONGEST_LABEL)
    for arm in ARMS:
        if arm in spec:
            raise UserError(f"{source}: spec.{arm} is what the pipeline fills in; leave it out")
    try:
        checked({**spec, **_ANY})
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return RolloutDocument(metadata["name"], namespace, spec)


def _check_name(source: str, what: str, name: object, longest: int) -> None:
    if not isinstance(name, str):
        raise UserError(f"{source}: {what} {name!r} is wrong: a text is expected")
    check_name(f"{source}: {what}", name, longest)
