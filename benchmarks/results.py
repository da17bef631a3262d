"""Where every benchmark leaves its figures: JSON for machines and Markdown for people, with the machine's facts."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

Facts = dict[str, str | int]
Row = dict[str, Any]

STORED = Path(__file__).parent / "results"
"""The results that are committed."""
VARIABLE = "MGOE_RESULTS"
"""Environment variable by which the suite sends a benchmark's results elsewhere."""
FOLDER = Path(os.environ.get(VARIABLE) or STORED)
QUICK_FOLDER = Path(os.environ.get(VARIABLE) or STORED / "quick")
"""Where results of small sizes go, which compare with nothing but themselves."""


def machine_facts(packages: Sequence[str] = ("torch", "numpy")) -> Facts:
    """What the figures depend on: processor, cores, memory, Python, the named packages, and the commit."""
    facts: Facts = {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "commit": commit(),
    }
    return facts | {name: metadata.version(name) for name in packages}


def write_results(
    name: str,
    command: str,
    facts: dict[str, str | int],
    tables: dict[str, list[dict[str, Any]]],
    folder: Path | None = None,
) -> Path:
    """Writes `<name>.json` and `<name>.md` under benchmarks/results or `folder`. tables: title -> rows, equal keys."""
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    document = {"command": command, "machine": facts, "tables": tables}
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [f"# {name}", "", f"Made by `{command}` on: {', '.join(f'{k} {v}' for k, v in facts.items())}.", ""]
    for title, rows in tables.items():
        lines += [f"## {title}", "", *markdown_table(rows), ""]
    path = folder / f"{name}.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lines of a pipe table; floats are printed as they come, so round them first."""
    if not rows:
        return ["(no rows)"]
    columns = list(rows[0])
    header = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return header + ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Of the working tree; `unknown` outside of a repository."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip() or "unknown"
