"""The mar step: what it makes, reuses and refuses."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from components.mar.work import run
from model.artifact.manifest import read_manifest
from model.artifact.writer import ArtifactWriter
from model.errors import UserError
from serving.ranker.torchserve.archive import archive_in


def artifact(path: Path) -> Any:
    return SimpleNamespace(name="artifact", path=str(path), metadata={})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The step reads manifests and bytes only, so any files will do."""
    with ArtifactWriter(tmp_path / "bundle", "bundle", "test") as writer:
        (writer.path / "weights.safetensors").write_bytes(b"weights")
    return tmp_path / "bundle"


def make(bundle: Path, out: Path, **options: Any) -> Any:
    made = artifact(out)
    run(artifact(bundle), made, **{"options": None, "uri": None, "store": None, **options})
    return made


def test_a_bundle_becomes_an_archive_and_is_reused(bundle: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    first = make(bundle, tmp_path / "one", options="{name: mmoe, workers: 2}", store=store)
    again = make(bundle, tmp_path / "two", options="{name: mmoe, workers: 2}", store=store)
    assert first.metadata["digest"] == again.metadata["digest"]
    assert first.metadata["bundle"] == read_manifest(bundle).digest
    with zipfile.ZipFile(Path(first.path) / "mmoe.mar") as archive:
        assert yaml.safe_load(archive.read("model-config.yaml"))["minWorkers"] == 2
        assert archive.read("bundle/weights.safetensors") == b"weights"


def test_a_wrong_option_is_one_line_and_names_the_field(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        make(bundle, tmp_path / "out", options="{workers: none}")
    assert ended.value.code == 2
    assert "workers is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "name", "arm"),
    [
        (None, "ranker-candidate", "candidate"),
        ("{ranker: {arm: mgoe}}", "ranker-candidate", "mgoe"),
        ("{name: mine}", "mine", "candidate"),
    ],
)
def test_a_pipelines_archive_names_its_model_and_arm_unless_the_options_do(
    options: str | None, name: str, arm: str, bundle: Path, tmp_path: Path
) -> None:
    made = make(bundle, tmp_path / "out", options=options, role="candidate")
    with zipfile.ZipFile(Path(made.path) / f"{name}.mar") as archive:
        assert yaml.safe_load(archive.read("model-config.yaml"))["ranker"]["arm"] == arm
        assert json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]["modelName"] == name


def test_an_archive_that_was_changed_afterwards_is_refused(bundle: Path, tmp_path: Path) -> None:
    made = Path(make(bundle, tmp_path / "out").path)
    assert archive_in(made) == made / "ranker.mar"
    with zipfile.ZipFile(made / "ranker.mar", "a") as archive:
        archive.writestr("more.py", "")
    with pytest.raises(UserError, match=r"ranker\.mar is broken"):
        archive_in(made)
