from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.artifact.manifest import MANIFEST_NAME, Source, digest_of_files, read_manifest, verify
from model.artifact.writer import ArtifactWriter
from model.errors import UserError


def write(out: Path, files: dict[str, bytes]) -> None:
    with ArtifactWriter(out, "log", "test") as writer:
        for name, content in files.items():
            (writer.path / name).parent.mkdir(parents=True, exist_ok=True)
            (writer.path / name).write_bytes(content)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    out = tmp_path / "log"
    write(out, {"rows.parquet": b"rows", "tables/users.npy": b"users"})
    return out


def edit(artifact: Path, **fields: Any) -> None:
    path = artifact / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_whole_artifact_verifies(artifact: Path) -> None:
    manifest = verify(artifact)
    assert sorted(manifest.files) == ["rows.parquet", "tables/users.npy"]
    assert manifest.source() == Source(kind="log", digest=manifest.digest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(content=st.binary(min_size=1, max_size=200), data=st.data())
def test_a_flipped_bit_anywhere_is_found_and_its_file_named(
    tmp_path: Path, content: bytes, data: st.DataObject
) -> None:
    out = tmp_path / "log"
    write(out, {"a": b"other", "sub/b": content})
    broken = bytearray(content)
    broken[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (out / "sub/b").write_bytes(broken)
    with pytest.raises(UserError, match=r"file sub/b is broken: sha256 \w{12}, expected \w{12}"):
        verify(out)


def test_a_missing_file_is_named(artifact: Path) -> None:
    (artifact / "tables/users.npy").unlink()
    with pytest.raises(UserError, match=r"file tables/users\.npy is missing"):
        verify(artifact)


def test_a_file_that_the_manifest_does_not_list_is_named(artifact: Path) -> None:
    (artifact / "tables/extra.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"file tables/extra\.npy is not listed"):
        verify(artifact)


def test_a_link_inside_an_artifact_is_refused(artifact: Path) -> None:
    (artifact / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="passwords is a link"):
        verify(artifact)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_manifest_of_another_schema_version_is_refused(artifact: Path, version: object) -> None:
    edit(artifact, schema_version=version)
    with pytest.raises(UserError, match=rf"schema version {version!r}; this mgoe reads version 1"):
        read_manifest(artifact)


def test_a_manifest_that_is_not_json_is_refused(artifact: Path) -> None:
    (artifact / MANIFEST_NAME).write_text('{"schema_version": 1')
    with pytest.raises(UserError, match=r"manifest\.json is not JSON"):
        read_manifest(artifact)


def test_an_unknown_field_is_named(artifact: Path) -> None:
    edit(artifact, colour="red")
    with pytest.raises(UserError, match=r"in manifest\.json colour is wrong"):
        read_manifest(artifact)


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "a/../../b", "a//b", ".", "", MANIFEST_NAME])
def test_a_path_that_leads_out_of_the_artifact_is_refused(artifact: Path, name: str) -> None:
    files = {name: "0" * 64}
    edit(artifact, files=files, digest=digest_of_files(files))
    with pytest.raises(UserError, match="not a plain path inside the artifact"):
        read_manifest(artifact)


def test_a_list_of_files_that_was_tampered_with_does_not_match_its_digest(artifact: Path) -> None:
    edit(artifact, files={"rows.parquet": "0" * 64})
    with pytest.raises(UserError, match="does not match its list of files"):
        read_manifest(artifact)


def test_a_folder_that_is_absent_or_holds_no_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent: no such folder"):
        read_manifest(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no manifest\.json in it"):
        read_manifest(tmp_path)


@given(st.dictionaries(st.text(min_size=1), st.text()), st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_the_files(files: dict[str, str], random: Any) -> None:
    shuffled = list(files.items())
    random.shuffle(shuffled)
    assert digest_of_files(dict(shuffled)) == digest_of_files(files)


def test_the_digest_tells_a_renamed_file_and_moved_content_apart() -> None:
    same = {"a": "1", "b": "2"}
    others = [{"a": "2", "b": "1"}, {"a": "1", "c": "2"}, {"a": "1"}, {"a1": "", "b": "2"}]
    assert len({digest_of_files(files) for files in [same, *others]}) == 5
