"""What TorchServe is started with."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from model.errors import UserError
from serving.ranker.torchserve import launch
from serving.ranker.torchserve.archive import ArchiveOptions, archive_in, write_archive
from serving.ranker.torchserve.launch import ServerOptions
from tests.serving.ranker.torchserve_process import require_torchserve


def test_management_and_grpc_stay_on_loopback_whatever_the_inference_host(tmp_path: Path) -> None:
    found = launch.properties("ranker", tmp_path, ServerOptions(host="0.0.0.0", metrics_host="0.0.0.0"))  # noqa: S104
    assert found["inference_address"] == "http://0.0.0.0:8080"
    assert found["management_address"] == "http://127.0.0.1:8081"
    assert found["grpc_inference_address"] == found["grpc_management_address"] == "127.0.0.1"


def test_doors_that_are_not_needed_are_shut(tmp_path: Path) -> None:
    shut = ("enable_model_api", "disable_token_authorization", "install_py_dep_per_model", "enable_envvars_config")
    found = launch.properties("ranker", tmp_path, ServerOptions())
    assert {found[name] for name in shut} == {"false"}
    allowed = str(found["allowed_urls"])
    store = f"file://{tmp_path.resolve()}/store"
    assert re.fullmatch(allowed, f"{store}/ranker.mar")
    for other in (
        f"{store}/../ranker.mar",
        f"{store}/x.mar",
        f"{store.replace('-', 'x')}/ranker.mar?",
        "http://x/.mar",
    ):
        assert not re.fullmatch(allowed, other)


@pytest.mark.parametrize("name", ["../../escaped", "a\nmodel_store=/x", "a\n", "", "a/b", ".", 7])
def test_a_name_that_leads_out_of_the_store_or_into_the_configuration_is_refused(
    name: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_java", lambda: "java")
    monkeypatch.setattr(launch, "_torchserve", lambda: tmp_path)
    with zipfile.ZipFile(tmp_path / "x.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelName": name}}))
    with pytest.raises(UserError, match="names its model in another way"):
        launch.prepare(tmp_path / "x.mar", tmp_path / "run", ServerOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.mar"]


def test_a_run_folder_is_cleaned_and_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_java", lambda: "java")
    monkeypatch.setattr(launch, "_torchserve", lambda: tmp_path)
    monkeypatch.setattr(launch, "metrics_file", lambda home: {})
    with zipfile.ZipFile(tmp_path / "x.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": {"modelName": "ranker"}}))
    run = tmp_path / "run"
    (run / "tmp" / "models").mkdir(parents=True)
    (run / "store").mkdir()
    (run / "store" / "old.mar").write_bytes(b"")
    run.chmod(0o777)
    launch.prepare(tmp_path / "x.mar", run, ServerOptions())
    assert run.stat().st_mode & 0o777 == 0o700
    assert list((run / "tmp").iterdir()) == []
    assert [path.name for path in (run / "store").iterdir()] == ["ranker.mar"]


def test_a_file_that_is_no_archive_is_one_line(tmp_path: Path) -> None:
    require_torchserve()
    (tmp_path / "x.mar").write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"x\.mar is no model archive"):
        launch.prepare(tmp_path / "x.mar", tmp_path / "run", ServerOptions())


def test_a_flipped_byte_in_an_archive_is_named_before_anything_starts(bundles: dict[str, Path], tmp_path: Path) -> None:
    require_torchserve()
    write_archive(bundles["mmoe"], tmp_path / "out", ArchiveOptions())
    packed = archive_in(tmp_path / "out")
    content = bytearray(packed.read_bytes())
    content[content.index((bundles["mmoe"] / "weights.safetensors").read_bytes()) + 5000] ^= 1
    packed.write_bytes(content)
    with pytest.raises(UserError, match=r"bundle/weights\.safetensors is broken"):
        launch.prepare(packed, tmp_path / "run", ServerOptions())


def test_a_machine_without_java_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="openjdk-17"):
        launch.prepare(tmp_path / "x.mar", tmp_path / "run", ServerOptions())
