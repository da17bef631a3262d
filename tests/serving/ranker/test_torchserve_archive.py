"""The model archive."""

from __future__ import annotations

import ast
import json
import shutil
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from model.artifact.manifest import verify
from model.errors import UserError
from serving.ranker.settings import RankerSettings
from serving.ranker.torchserve.archive import ArchiveOptions, archive_in, write_archive


@pytest.fixture(scope="session")
def bundle(bundles: dict[str, Path]) -> Path:
    return bundles["mmoe"]


@pytest.fixture
def archive(bundle: Path, tmp_path: Path) -> zipfile.ZipFile:
    write_archive(bundle, tmp_path / "out", ArchiveOptions())
    return zipfile.ZipFile(archive_in(tmp_path / "out"))


def test_equal_input_gives_equal_bytes(bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "copied"
    shutil.copytree(bundle, again)
    one = write_archive(bundle, tmp_path / "one", ArchiveOptions())
    two = write_archive(again, tmp_path / "two", ArchiveOptions())
    assert one.digest == two.digest
    assert archive_in(tmp_path / "one").read_bytes() == archive_in(tmp_path / "two").read_bytes()
    assert write_archive(bundle, tmp_path / "three", ArchiveOptions(batch=4)).digest != one.digest


def test_an_archive_holds_handler_settings_and_the_bundle_and_nothing_else(
    archive: zipfile.ZipFile, bundle: Path
) -> None:
    names = set(archive.namelist())
    packed = {name.removeprefix("bundle/") for name in names if name.startswith("bundle/")}
    assert names - {f"bundle/{name}" for name in packed} == {
        "MAR-INF/MANIFEST.json",
        "mgoe_handler.py",
        "model-config.yaml",
    }
    assert packed == {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in packed} == {".json", ".npy", ".parquet", ".safetensors", ".yaml"}


def test_no_file_of_an_archive_is_a_pickle(archive: zipfile.ZipFile) -> None:
    starts = {name: archive.read(name)[:8] for name in archive.namelist()}
    # Protocol 2 and later begin with 0x80 and the protocol; torch.save's and TorchScript's files are zip files.
    assert [name for name, start in starts.items() if start[:1] == b"\x80" or start[:2] == b"PK"] == []
    for name in (name for name in starts if name.endswith(".npy")):
        assert b"'|O'" not in archive.read(name)[:128]


def test_the_handler_file_holds_the_one_class_that_torchserve_looks_for(archive: zipfile.ZipFile) -> None:
    list_classes = pytest.importorskip("ts.utils.util", reason="TorchServe is not installed").list_classes_from_module
    module = ModuleType("mgoe_handler")
    source = archive.read("mgoe_handler.py").decode()
    ast.parse(source)
    exec(compile(source, "mgoe_handler.py", "exec"), module.__dict__)  # noqa: S102  # as TorchServe imports it
    assert [found.__name__ for found in list_classes(module)] == ["Handler"]


def test_the_manifest_has_the_fields_that_the_archiver_writes(archive: zipfile.ZipFile) -> None:
    archiver = pytest.importorskip("model_archiver.model_packaging_utils", reason="TorchServe is not installed")
    config = archiver.ModelArchiverConfig(
        model_name="ranker", handler="mgoe_handler.py", version="1.0", config_file="model-config.yaml", runtime="python"
    )
    theirs = json.loads(archiver.ModelExportUtils.generate_manifest_json(config))
    ours = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    assert {**ours, "createdOn": ""} == {**theirs, "createdOn": ""}


def test_settings_reach_the_handler_through_the_archive(bundle: Path, tmp_path: Path) -> None:
    settings = RankerSettings(arm="candidate", scorers=("factorised",), cache=tmp_path)
    write_archive(bundle, tmp_path / "out", ArchiveOptions(ranker=settings, workers=3))
    config = yaml.safe_load(zipfile.ZipFile(archive_in(tmp_path / "out")).read("model-config.yaml"))
    assert RankerSettings.model_validate(config["ranker"]) == settings
    assert (config["minWorkers"], config["bundle"]) == (3, "bundle")


def test_an_archive_may_name_where_the_bundle_lies_instead(bundle: Path, tmp_path: Path) -> None:
    manifest = write_archive(bundle, tmp_path / "out", ArchiveOptions(), uri="s3://models/mmoe")
    archive = zipfile.ZipFile(archive_in(tmp_path / "out"))
    assert len(archive.namelist()) == 3
    assert yaml.safe_load(archive.read("model-config.yaml"))["bundle"] == "s3://models/mmoe"
    assert manifest.facts["bundle"] == verify(bundle).digest
    assert [source.digest for source in manifest.made_from] == [verify(bundle).digest]


def test_a_broken_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    content = bytearray((broken / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (broken / "weights.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        write_archive(broken, tmp_path / "out", ArchiveOptions())
    assert not (tmp_path / "out").exists()


def test_what_is_no_bundle_is_not_packed(world_log: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="made of a bundle"):
        write_archive(world_log, tmp_path / "out", ArchiveOptions())
