"""Rendered objects, and what tests look up in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

Object = dict[str, Any]


def objects_of(rendered: Mapping[str, str]) -> dict[str, list[Object]]:
    """Objects by template; NOTES.txt is none."""
    return {
        path: [each for each in yaml.safe_load_all(text) if each]
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
