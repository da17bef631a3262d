"""Published test vectors of the assignment: buckets as Envoy itself decided them, not as our function computes them."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.gateway.assignment import BUCKETS
from serving.gateway.config import parse_config
from serving.gateway.envoy import Envoy
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit

FILE = Path(__file__).with_name("vectors.json")
SALTS = ("mgoe", "exp-2026.11", "A_b-9.z")
UNITS = (
    *("0", "1", "42", "user-1", "user-2", "User-1", "a" * 256, "ü" * 256, "7f3e9c1a-0b52-4c5e-9b7e-2d1f6a8c4e90"),
    *(
        "müller",
        "mu\u0308ller",
        "用户-17",
        "пользователь",
        "🙂",
        "\u00a0",
        "\uffff",
        "\U0010ffff",
        "~!@#$%^&*()_+",
        "-",
        "null",
    ),
    *('"quoted"', "back\\slash", "\\1", "a:b", "a/b?c=d&e#f", "{}", "%41", "%REQ(x)%", "'", "=1+1"),
)

_NOBODY = """\
experiment: {{id: vectors, salt: {salt}}}
baseline: {{endpoints: [{{host: 127.0.0.1, http: 1}}]}}
candidate: {{endpoints: [{{host: 127.0.0.1, http: 1}}]}}
listener: {{port: 0}}
"""
"""No ranker answers: that Envoy names the arm in its own 503 is enough."""


def published() -> Mapping[str, Mapping[str, int]]:
    """Bucket by salt and unit."""
    found: Mapping[str, Mapping[str, int]] = json.loads(FILE.read_text(encoding="utf-8"))["buckets"]
    return found


def measured(salts: Sequence[str] = SALTS, units: Sequence[str] = UNITS) -> Mapping[str, Mapping[str, int]]:
    """Asks a real Envoy, by bisection: a unit's bucket is the largest weight at which it is still on the baseline."""
    found: dict[str, dict[str, int]] = {}
    for salt in salts:
        with tempfile.TemporaryDirectory(prefix="mgoe-vectors-") as name:
            folder = GatewayFolder(Path(name))
            with Envoy(folder, parse_config(_NOBODY.format(salt=salt), "vectors"), settle_s=0) as envoy:
                found[salt] = _bisected(LiveSplit(folder), envoy.port, units)
    return found


def text(buckets: Mapping[str, Mapping[str, int]]) -> str:
    """The file."""
    rule = f"xxh64(salt + ':' + unit, seed 0) mod {BUCKETS}; candidate where bucket < weight in basis points"
    return json.dumps({"rule": rule, "buckets": buckets}, indent=2, ensure_ascii=True) + "\n"


def _bisected(live: LiveSplit, port: int, units: Sequence[str]) -> dict[str, int]:
    low = dict.fromkeys(units, 0)
    high = dict.fromkeys(units, BUCKETS - 1)
    while pending := [unit for unit in units if low[unit] < high[unit]]:
        # The median of the middles: many units halve at once, and every one of them sooner or later.
        middles = sorted((low[unit] + high[unit]) // 2 for unit in pending)
        middle = middles[len(middles) // 2]
        live.set_weights(middle + 1)
        for unit in pending:
            if not low[unit] <= middle < high[unit]:
                continue
            if _arm(port, unit) == "candidate":
                high[unit] = middle
            else:
                low[unit] = middle + 1
    return {unit: low[unit] for unit in units}


def _arm(port: int, unit: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v2/models/m/infer", b"{}", {"x-mgoe-unit": unit.encode().decode("latin-1")})
        return str(connection.getresponse().headers["x-mgoe-arm"])
    finally:
        connection.close()
