"""TorchServe's tokens: read from the file that it keeps them in, renewed before they end.

A renewed token replaces the old one at once. Callers read it again where they are refused (400, InvalidKeyException).
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Literal

TOKENS = "key_file.json"
"""Written by TorchServe into its working folder, readable by its user alone."""
LOOPBACK = "127.0.0.1"

Use = Literal["inference", "management", "API"]
"""What a token opens; `API` renews the two others and holds as long as the server runs."""


def token(run: Path, use: Use = "inference") -> str:
    """The token that TorchServe wrote last. Raises OSError or ValueError where it wrote none, or is writing it."""
    try:
        return str(json.loads((run / TOKENS).read_bytes())[use]["key"])
    except (KeyError, TypeError):
        raise ValueError(f"{run / TOKENS} holds no token for {use}") from None


def renew(run: Path, port: int, timeout_s: float = 10.0) -> None:
    """Has both tokens made anew through the management port. Raises OSError, HTTPException or ValueError."""
    for use in ("management", "inference"):
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
        try:
            headers = {"Authorization": f"Bearer {token(run, 'API')}"}
            connection.request("GET", f"/token?type={use}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise ValueError(f"TorchServe answers {answer.status} when asked for a new {use} token")
        finally:
            connection.close()
