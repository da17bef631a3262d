"""What TorchServe is started with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.errors import UserError
from serving.ranker.torchserve import launch
from serving.ranker.torchserve.archive import ArchiveOptions, archive_in, write_archive
from serving.ranker.torchserve.launch import ServerOptions


def test_management_and_grpc_stay_on_loopback_whatever_the_inference_host(tmp_path: Path) -> None:
    found = launch.properties("ranker", tmp_path, ServerOptions(host="0.0.0.0", metrics_host="0.0.0.0"))  # noqa: S104
    assert found["inference_address"] == "http://0.0.0.0:8080"
    assert found["management_address"] == "http://127.0.0.1:8081"
    assert found["grpc_inference_address"] == found["grpc_management_address"] == "127.0.0.1"


def test_doors_that_are_not_needed_are_shut(tmp_path: Path) -> None:
    shut = ("enable_model_api", "disable_token_authorization", "install_py_dep_per_model", "enable_envvars_config")
    found = launch.properties("ranker", tmp_path, ServerOptions())
    assert {found[name] for name in shut} == {"false"}
    assert found["allowed_urls"] == f"file://{tmp_path.resolve()}/store/.*"


def test_a_file_that_is_no_archive_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ts")
    if shutil.which("java") is None:
        pytest.skip("needs Java 17 (openjdk-17-jre-headless)")
    (tmp_path / "x.mar").write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"x\.mar is no model archive"):
        launch.prepare(tmp_path / "x.mar", tmp_path / "run", ServerOptions())


def test_a_flipped_byte_in_an_archive_is_named_before_anything_starts(bundles: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("ts")
    if shutil.which("java") is None:
        pytest.skip("needs Java 17 (openjdk-17-jre-headless)")
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
