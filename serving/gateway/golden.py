"""Rendered configurations that are committed; `python -m serving.gateway.golden` writes them anew, tests compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serving.gateway.config import GatewayConfig, parse_config
from serving.gateway.folder import render
from serving.gateway.split import Split

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "serving" / "gateway" / "golden"
GATEWAY = Path("/var/lib/mgoe/gateway")
"""Where the rendered files say that they are."""

LOCAL = """\
experiment: {id: mgoe-vs-mmoe, salt: mgoe-vs-mmoe}
baseline: {endpoints: [{host: 127.0.0.1, http: 8080, grpc: 8081}]}
candidate: {endpoints: [{host: 127.0.0.1, http: 8082, grpc: 8083}]}
"""
CLUSTER = """\
experiment: {id: mgoe-vs-mmoe, salt: 2026-11}
listener: {host: 0.0.0.0, port: 8000}
baseline: {endpoints: [{host: mmoe.ranking.svc, http: 8080}]}
candidate: {endpoints: [{host: mgoe.ranking.svc, http: 8080}]}
timeouts: {request: 0.5, attempt: 0.2}
"""

CASES: Mapping[str, tuple[GatewayConfig, Split]] = {
    "local": (parse_config(LOCAL, "local"), Split("mgoe-vs-mmoe", "mgoe-vs-mmoe")),
    "cluster": (parse_config(CLUSTER, "cluster"), Split("mgoe-vs-mmoe", "2026-11", 4, 2000, mirror=1000)),
}


def files() -> Mapping[Path, str]:
    """Content by path."""
    return {
        FOLDER / case / Path(name).name: content
        for case, (config, split) in CASES.items()
        for name, content in render(config, split, GATEWAY).items()
    }


def write() -> None:
    """Write every file anew."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write()
