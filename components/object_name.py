"""Names that Kubernetes takes. Source: RFC 1123 labels."""

from __future__ import annotations

import re

from model.errors import UserError

LONGEST_LABEL = 63
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def check_name(what: str, name: str, longest: int = LONGEST_LABEL) -> None:
    """Raises UserError for a name that Kubernetes would refuse."""
    if _LABEL.fullmatch(name) is None or len(name) > longest:
        raise UserError(f"{what} {name!r} is wrong: use at most {longest} small letters, digits and inner dashes")
