"""Which verbs a room's code asks of the Kubernetes API, read off its source."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from serving.rollout.desk import ClusterDesk
from serving.rollout.resource import GROUP, PLURAL

ROOT = Path(__file__).parents[2]
_METHOD = re.compile(
    r"(get|read|list|create|replace|patch|delete)_(?:namespaced|cluster)_(\w+?)(?:_for_all_namespaces)?(_status|_scale)?"
)
_VERBS = {"read": "get", "replace": "update"}
_BUILT_IN = {
    "lease": ("coordination.k8s.io", "leases"),
    "event": ("", "events"),
    "config_map": ("", "configmaps"),
    "endpoint_slice": ("discovery.k8s.io", "endpointslices"),
    "deployment": ("apps", "deployments"),
    "pod": ("", "pods"),
    "service": ("", "services"),
    "horizontal_pod_autoscaler": ("autoscaling", "horizontalpodautoscalers"),
}


class Right(NamedTuple):
    """One verb on one resource."""

    group: str
    resource: str
    verb: str


def calls(room: str) -> set[Right]:
    """Every call of the Python client in a package's modules. A call that cannot be read is an error."""
    found: set[Right] = set()
    for path in sorted((ROOT / room).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "kubernetes" not in source:
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found |= set(_calls(ast.parse(source), module))
    return found


def _calls(tree: ast.AST, module: ModuleType) -> Iterator[Right]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        told = _METHOD.fullmatch(node.func.attr)
        if told is None:
            continue
        verb, kind, part = told.groups()
        group, resource = _custom(node, module) if kind == "custom_object" else _BUILT_IN[kind]
        yield Right(group, resource + (part or "").replace("_", "/"), _VERBS.get(verb, verb))


def _custom(call: ast.Call, module: ModuleType) -> tuple[str, str]:
    """Group and plural of a custom object: the first argument, and that which is not the namespace before the name."""
    values = [_value(each, module) for each in call.args]
    texts = [each for each in values if each is not None]
    assert len(texts) >= 3, f"{module.__name__}, line {call.lineno}: group, version and plural should be constants"
    return texts[0], texts[2]


def _value(node: ast.expr, module: ModuleType) -> str | None:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        found = getattr(module, node.id, None)
        return found if isinstance(found, str) else None
    return None


_DESK_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


def desk_calls(room: str) -> set[Right]:
    """What a package's calls of a desk (`desk.read(...)`) ask of the API server, by the source of ClusterDesk."""
    methods: set[str] = set()
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in {"desk", "_desk"}:
                methods.add(node.attr)
    tree = ast.parse(inspect.getsource(ClusterDesk))
    bodies = {each.name: each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
    return {Right(GROUP, PLURAL, verb) for method in methods for verb in _desk_verbs(method, bodies)}


def _desk_verbs(method: str, bodies: Mapping[str, ast.FunctionDef]) -> Iterator[str]:
    for node in ast.walk(bodies[method]):
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("self."):
            continue
        called = ast.unparse(node.func).removeprefix("self.")
        if called == "_ask":
            told, path = ast.literal_eval(node.args[0]), ast.unparse(node.args[1])
            yield _DESK_VERBS.get(told) or ("list" if path == "self._path" else "get")
        elif not called.startswith("_"):
            yield from _desk_verbs(called, bodies)
