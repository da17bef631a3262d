"""Which code a step's result depends on, as a digest: it changes with any module that the step can reach."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = frozenset({"model"})
"""Only the science decides results. The components around it decide where artifacts go: they stay out of the digest."""
DATA = (".yaml", ".j2")
"""Files beside modules that decide what they make."""


@cache
def code_version(*entries: str, root: Path = ROOT) -> str:
    """SHA-256 over the sources of the `entries` and of every `model` module it imports, directly or not, lazily or not.

    Schemas and page templates in a reached module's folder count as its source. Raises ModuleNotFoundError.
    """
    digest = hashlib.sha256()
    modules = frozenset().union(*(reachable(entry, root) for entry in entries))
    for path in sorted(_files_of(modules, root)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def reachable(entry: str, root: Path = ROOT) -> frozenset[str]:
    """`entry` and all modules of our rooms that it imports, transitively; imports inside functions included."""
    if _source(entry, root) is None:
        raise ModuleNotFoundError(f"no module {entry} under {root}", name=entry)
    seen: set[str] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        source = _source(module, root)
        if module in seen or source is None:
            continue
        seen.add(module)
        waiting.extend(name for name in _imports(source) if name.split(".")[0] in ROOMS)
    return frozenset(seen)


def _imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.module
            # `from model.data import schema` names a module, `from model.data.schema import Task` does not:
            # names that are no module have no source and fall away.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _files_of(modules: frozenset[str], root: Path) -> set[Path]:
    files: set[Path] = set()
    for module in modules:
        source = _source(module, root)
        if source is None:
            continue
        files.add(source)
        if source.parent.parent != root:  # data beside model/__init__.py (recipes) travels as a step's options
            files.update(path for suffix in DATA for path in source.parent.rglob(f"*{suffix}"))
    return files
