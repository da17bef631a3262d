"""What this room renders and commits; `python -m serving.rollout.golden` writes it anew, tests compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from serving.rollout import crd, table_page

ROOT = Path(__file__).resolve().parents[2]
FILES: Mapping[Path, Callable[[], str]] = {
    ROOT / "manifests" / "crd" / "modelrollouts.mgoe.dev.yaml": crd.rendered,
    ROOT / "docs" / "rollout-states.md": table_page.page,
}


def write() -> None:
    """Write every file anew."""
    for path, render in FILES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    write()
