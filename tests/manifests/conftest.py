"""The custom resources' schemas."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.manifests.kustomized import Resource

GROUPS = ("kserve", "keda", "kuberay", "kubeflow-trainer")


@pytest.fixture(scope="session")
def crds() -> Path:
    folder = os.environ.get("MGOE_CRDS", "")
    if not Path(folder).is_dir() or not folder:
        pytest.skip("MGOE_CRDS names no folder with the CRDs")
    return Path(folder)


@pytest.fixture(scope="session")
def schemas(crds: Path) -> dict[tuple[str, str], Resource]:
    """Structural schemas by (apiVersion, kind)."""
    found: dict[tuple[str, str], Resource] = {}
    for path in sorted(path for group in GROUPS for path in crds.glob(f"{group}-*/*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
            found[key] = version["schema"]["openAPIV3Schema"]
    assert found, f"no CRDs of kserve in {crds}"
    return found
