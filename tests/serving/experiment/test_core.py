"""The statistics core imports the standard library, numpy, scipy and itself: a list of what is allowed."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

ROOM = Path(__file__).parents[3] / "serving" / "experiment"
AROUND = {"chart", "commands", "page", "text_report"}
ALLOWED = {*sys.stdlib_module_names, "numpy", "scipy"}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "serving.experiment":
            found |= {f"serving.experiment.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_core_imports_numpy_scipy_and_itself_alone() -> None:
    core = {path.stem for path in ROOM.glob("*.py")} - AROUND - {"__init__"}
    allowed = {f"serving.experiment.{name}" for name in core}
    for name in core:
        strange = {one for one in _imported(ROOM / f"{name}.py") if one.split(".")[0] not in ALLOWED} - allowed
        assert not strange, f"{name} imports {strange}"


def test_the_import_contract_names_every_module_of_the_core() -> None:
    contracts = tomllib.loads((ROOM.parents[1] / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(one for one in contracts if one["name"].startswith("The statistics core"))
    core = {path.stem for path in ROOM.glob("*.py")} - AROUND - {"__init__"}
    assert set(contract["source_modules"]) == {f"serving.experiment.{name}" for name in core}
