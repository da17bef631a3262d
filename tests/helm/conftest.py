"""The chart as the Helm engine renders it, and the schemas that an API server would hold it against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from helm.engine import Engine
from helm.golden import CASES
from tests.helm.objects import Object, objects_of

CRDS = ("kserve-*/*_servingruntimes.yaml", "prometheus-operator-*/*.yaml")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine() as started:
        yield started


@pytest.fixture(scope="session")
def cases(engine: Engine) -> dict[str, dict[str, list[Object]]]:
    """Objects by case and template."""
    return {name: objects_of(engine.render(values)) for name, values in CASES.items()}


@pytest.fixture(scope="session")
def schemas() -> dict[tuple[str, str], Object]:
    """Structural schemas of custom resources by (apiVersion, kind)."""
    folder = os.environ.get("MGOE_CRDS", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MGOE_CRDS names no folder with the CRDs")
    found: dict[tuple[str, str], Object] = {}
    for path in sorted(path for pattern in CRDS for path in Path(folder).glob(pattern)):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
            found[key] = version["schema"]["openAPIV3Schema"]
    assert found, f"no CRDs in {folder}"
    return found
