"""Rendered files on the disk."""

from __future__ import annotations

from pathlib import Path

from model.errors import Fault


def write_text(text: str, out: Path) -> None:
    """Write `text` to `out`, making its folder. Raises Fault when that fails."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Fault(f"cannot write {out}: {error.strerror}") from None
