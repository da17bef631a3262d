"""Rendered objects, and what tests look up in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

Object = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Numbers as Kubernetes reads them: Helm writes 1e-09, which YAML 1.1 takes for a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+(\.[0-9]+)?e[-+]?[0-9]+$"), list("-0123456789")
)


def objects_of(rendered: Mapping[str, str]) -> dict[str, list[Object]]:
    """Objects by template; NOTES.txt is none."""
    return {
        path: [each for each in yaml.load_all(text, Loader=_Loader) if each]  # a safe one
        for path, text in rendered.items()
        if path != "NOTES.txt"
    }


def every(case: Mapping[str, Iterable[Object]]) -> list[Object]:
    return [each for objects in case.values() for each in objects]


def of_kind(case: Mapping[str, Iterable[Object]], kind: str) -> list[Object]:
    return [each for each in every(case) if each["kind"] == kind]


def named(case: Mapping[str, Iterable[Object]], kind: str, name: str) -> Object:
    [found] = [each for each in of_kind(case, kind) if each["metadata"]["name"] == name]
    return found


def pods(case: Mapping[str, Iterable[Object]]) -> Iterator[tuple[str, Object]]:
    """(kind/name, pod template) of every workload."""
    for each in every(case):
        if each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield f"{each['kind']}/{each['metadata']['name']}", each["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """All of a pod template, init containers too."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
