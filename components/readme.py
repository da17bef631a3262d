"""README.md of every component, in the layout of kubeflow/pipelines-components, rendered from signature and metadata.

What stands below the marker is written by hand and kept.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from docstring_parser import parse

FOLDER = Path(__file__).resolve().parent
NAMES = (
    "ingest",
    "build_graph",
    "train",
    "evaluate",
    "compare",
    "package",
    "mar",
    "parity",
    "register",
    "register_rollout",
)
MARKER = "<!-- custom-content -->"


@dataclass(frozen=True)
class Row:
    """One input or output."""

    name: str
    type: str
    default: str
    description: str


def render(name: str) -> str:
    """The README of one component; its hand-written part is read from the file that is there."""
    component: Any = getattr(importlib.import_module(f"components.{name}.component"), name)
    metadata = yaml.safe_load((FOLDER / name / "metadata.yaml").read_text(encoding="utf-8"))
    doc = parse(inspect.getdoc(component.python_func) or "")
    described = {entry.arg_name: entry.description or "" for entry in doc.params}
    described |= _returns(doc.returns)
    inputs, outputs = _rows(component, described)
    lines = [
        f"# {name.replace('_', ' ').capitalize()}",
        "",
        f"> Stability: {metadata['stability']}",
        "",
        "## Overview",
        "",
        doc.short_description or "",
        "",
        "## Inputs",
        "",
        "| Parameter | Type | Default | Description |",
        "|-----------|------|---------|-------------|",
        *(f"| `{row.name}` | `{row.type}` | {row.default} | {row.description} |" for row in inputs),
        "",
        "## Outputs",
        "",
        "| Name | Type | Description |",
        "|------|------|-------------|",
        *(f"| `{row.name}` | `{row.type}` | {row.description} |" for row in outputs),
        "",
        *_metadata(metadata),
        "",
        MARKER,
    ]
    return "\n".join(lines) + _custom(name)


def _rows(component: Any, described: dict[str, str]) -> tuple[list[Row], list[Row]]:
    spec = component.component_spec
    inputs = []
    for name, entry in (spec.inputs or {}).items():
        default = "required" if not entry.optional else f"`{entry.default}`" if entry.default is not None else "absent"
        inputs.append(Row(name, _type(entry.type), default, described.get(name, "")))
    outputs = [
        Row(name, _type(entry.type), "", described.get(name, "")) for name, entry in (spec.outputs or {}).items()
    ]
    return inputs, outputs


def _returns(section: Any) -> dict[str, str]:
    """The `Returns` section as name and description; the parser takes its lines for one entry."""
    if section is None:
        return {}
    lines = f"{section.return_name or section.type_name}: {section.description}".splitlines()
    return {name.strip(): description.strip() for name, _, description in (line.partition(":") for line in lines)}


def _type(name: str) -> str:
    return name.partition("@")[0]


def _metadata(metadata: dict[str, Any]) -> list[str]:
    needs = [f"  - {need['name']} {need['version']}" for need in metadata["dependencies"]["kubeflow"]]
    return [
        "## Metadata",
        "",
        f"- **Name**: {metadata['name']}",
        f"- **Stability**: {metadata['stability']}",
        "- **Dependencies**:",
        *needs,
        f"- **Tags**: {', '.join(metadata['tags'])}",
        f"- **Last verified**: {metadata['lastVerified']:%Y-%m-%d}",
    ]


def _custom(name: str) -> str:
    path = FOLDER / name / "README.md"
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    return there.partition(MARKER)[2] or "\n"
