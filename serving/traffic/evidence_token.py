"""The evidence service's token of the role write: from a file or the environment, never from arguments."""

from __future__ import annotations

import os
from pathlib import Path

from model.errors import UserError

TOKEN = "MGOE_EVIDENCE_WRITE_TOKEN"  # noqa: S105  # the name of a variable


def read_token(file: Path | None) -> str | None:
    """The token, or None where the service asks for none. Raises UserError for a file that cannot be read."""
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token {file} cannot be read: {error}") from None
