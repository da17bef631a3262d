"""Addresses of servers as people write them."""

from __future__ import annotations

import re

from model.errors import UserError

_ADDRESS = re.compile(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?/?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?/?")


def require_address(name: str, address: str) -> None:
    """Raises UserError for anything but http://HOST:PORT or https://HOST:PORT. name: of the option."""
    if not _ADDRESS.fullmatch(address):
        raise UserError(f"{name} {address}: write http://HOST:PORT")
