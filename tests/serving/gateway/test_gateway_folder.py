"""The gateway's folder on a disk that is full."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from model.errors import Fault
from serving.gateway import folder as gateway_folder
from serving.gateway.folder import RESERVE_FILE, ROUTES_FILE, GatewayFolder, json_text
from serving.gateway.routes import routes
from tests.serving.gateway.gateways import config_of


def test_a_weight_can_be_written_on_a_full_disk_and_what_cannot_be_written_changes_nothing(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_folder, "RESERVE", 64 * 2**10)
    rankers = [{"host": "127.0.0.1", "http": 8081}]
    config = config_of(rankers, [{"host": "127.0.0.1", "http": 8082}])
    folder = GatewayFolder(tiny_disk / "gateway")
    half = folder.prepare(config).changed(5000, None)
    folder.write(ROUTES_FILE, json_text(routes(config, half)))
    with (tiny_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))
    try:
        none = half.changed(0, None)
        folder.write(ROUTES_FILE, json_text(routes(config, none)))
        assert folder.split() == none
        with pytest.raises(Fault, match="cannot be written: No space left on device"):
            folder.write("large", "x" * 2**20)
        assert folder.split() == none
    finally:
        (tiny_disk / "filler").unlink()
    folder.write(ROUTES_FILE, json_text(routes(config, none)))
    assert (folder.root / RESERVE_FILE).stat().st_size == 64 * 2**10
