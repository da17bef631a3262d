"""What the README shows is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.gateway import assignment
from serving.gateway.access_log import FORMAT
from serving.gateway.config import parse_config
from serving.gateway.envoy import Envoy
from serving.gateway.folder import GatewayFolder
from serving.gateway.routes import INTERNAL_HEADERS
from serving.gateway.split import Split
from tests.serving.gateway.gateways import config_of

README = (Path(assignment.__file__).parent / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_its_configuration_is_one() -> None:
    assert parse_config(block("yaml"), "README").experiment.id == "mgoe-vs-mmoe"


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nobody = [{"host": "127.0.0.1", "http": 1}]
    names: dict[str, object] = {}
    with Envoy(GatewayFolder(tmp_path / "runs" / "gateway"), config_of(nobody, nobody), settle_s=0):
        exec(block("python"), names)  # noqa: S102  # it is ours
        assert names["router"].weights() == Split("exp-1", "salt-1", 2, 500)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*FORMAT, *INTERNAL_HEADERS])
def test_every_field_and_header_is_told(name: str) -> None:
    assert f"`{name.removesuffix('_trailer')}`" in README
