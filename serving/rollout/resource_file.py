"""Reads a ModelRollout from a YAML file, as strictly as the API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from model.errors import UserError
from serving.rollout.resource import GROUP, KIND, VERSION
from serving.rollout.sqlite_store import check_name, checked


class _Strict(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's reader would keep the last."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":  # `<<: *other`
            continue
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key is a list or a mapping", problem_mark=key.start_mark)
        name = loader.construct_object(key)
        if name in seen:
            raise yaml.MarkedYAMLError(problem=f"{name!r} is there twice", problem_mark=key.start_mark)
        seen.add(name)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_resource(file: Path) -> tuple[str, dict[str, Any]]:
    """Name and spec of a ModelRollout file, checked, without defaults. Raises UserError that begins with the file."""
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Strict)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from error
    expected = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND}
    if not isinstance(document, dict) or any(document.get(name) != value for name, value in expected.items()):
        raise UserError(f"{file}: a {KIND} of {GROUP}/{VERSION} is expected")
    metadata, spec = document.get("metadata"), document.get("spec")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not isinstance(spec, dict):
        raise UserError(f"{file}: metadata.name and spec are needed")
    try:
        check_name(name)
        checked(spec)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return name, spec
