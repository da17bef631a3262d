"""What every store promises; each test runs on a folder and on a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.artifact.manifest import MANIFEST_NAME, verify
from model.artifact.store import FolderStore, Store, open_store
from model.artifact.writer import ArtifactWriter
from model.errors import Fault, UserError


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('s3_bucket')}/team/artifacts"


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


def write(out: Path, **files: str) -> Path:
    with ArtifactWriter(out, "log", "test") as writer:
        for name, content in files.items():
            path = writer.path / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        writer.facts["rows"] = 3
    return out


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(tmp_path / "made" / "log", rows="rows", tables__users="users", empty="")


def test_what_is_put_comes_back_the_same(store: Store, log: Path, tmp_path: Path) -> None:
    put = store.put_tree(log, "logs/today")
    got = store.get_tree("logs/today", tmp_path / "got")
    assert put == got == verify(tmp_path / "got")
    assert got.facts == {"rows": 3}
    assert (tmp_path / "got/tables/users").read_text() == "users"
    assert (tmp_path / "got/empty").read_text() == ""


def test_a_key_exists_once_its_artifact_is_put(store: Store, log: Path) -> None:
    assert not store.exists("logs/today")
    store.put_tree(log, "logs/today")
    assert store.exists("logs/today")
    assert not store.exists("logs")
    assert not store.exists("logs/today/tables")


def test_keys_are_listed_by_prefix_and_sorted(store: Store, log: Path) -> None:
    assert store.keys() == []
    for key in ("logs/b", "logs/a", "models/x", "top"):
        store.put_tree(log, key)
    assert store.keys() == ["logs/a", "logs/b", "models/x", "top"]
    assert store.keys("logs/") == ["logs/a", "logs/b"]
    assert store.keys("top/") == store.keys("nothing") == []


def test_another_artifact_under_the_same_key_replaces_the_first_wholly(store: Store, log: Path, tmp_path: Path) -> None:
    store.put_tree(log, "logs/today")
    other = write(tmp_path / "made" / "other", rows="other rows")
    store.put_tree(other, "logs/today")
    store.get_tree("logs/today", tmp_path / "got")
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == [MANIFEST_NAME, "rows"]
    assert (tmp_path / "got/rows").read_text() == "other rows"


def test_getting_replaces_an_older_artifact_in_the_folder(store: Store, log: Path, tmp_path: Path) -> None:
    store.put_tree(log, "logs/today")
    write(tmp_path / "got", old="old")
    store.get_tree("logs/today", tmp_path / "got")
    assert verify(tmp_path / "got").files.keys() == {"rows", "tables/users", "empty"}


def test_getting_into_a_folder_of_other_files_is_refused(store: Store, log: Path, tmp_path: Path) -> None:
    store.put_tree(log, "logs/today")
    with pytest.raises(UserError, match="holds files that are not an artifact"):
        store.get_tree("logs/today", tmp_path / "made")


def test_what_is_removed_is_gone_with_all_its_files(store: Store, log: Path) -> None:
    for key in ("logs/a", "logs/ab"):
        store.put_tree(log, key)
    store.remove("logs/a")
    store.remove("logs/a")
    assert not store.exists("logs/a")
    assert store.keys() == ["logs/ab"]
    store.put_tree(log, "logs/a/inner")  # nothing of it is in the way


def test_a_missing_key_is_named_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no artifact under key 'logs/absent'"):
        store.get_tree("logs/absent", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_a_store_that_is_checked_takes_artifacts_and_holds_nothing_yet(store: Store, log: Path) -> None:
    store.check()
    assert store.keys() == []
    store.put_tree(log, "x")
    store.check()
    assert store.keys() == ["x"]


def test_a_store_that_cannot_be_a_folder_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match=r"store .*file/store cannot be written to: Not a directory; name another folder"):
        open_store(str(tmp_path / "file" / "store")).check()


def test_a_folder_store_that_is_checked_is_left_empty(tmp_path: Path) -> None:
    open_store(str(tmp_path / "new" / "store")).check()
    assert list((tmp_path / "new" / "store").iterdir()) == []


def test_a_broken_artifact_is_not_put(store: Store, log: Path) -> None:
    (log / "rows").write_text("rowz")
    with pytest.raises(UserError, match="file rows is broken"):
        store.put_tree(log, "logs/today")
    assert not store.exists("logs/today")


def test_a_folder_that_is_no_artifact_is_not_put(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.json in it"):
        store.put_tree(tmp_path, "logs/today")


@pytest.mark.parametrize("key", ["", ".", "/etc", "../up", "a//b", "a/", "a/../b", ".hidden/a"])
def test_a_key_that_is_no_plain_path_is_refused(store: Store, log: Path, key: str) -> None:
    with pytest.raises(UserError, match=r"artifact key .* is wrong"):
        store.put_tree(log, key)


def test_an_artifact_cannot_lie_inside_another(store: Store, log: Path) -> None:
    store.put_tree(log, "a/b")
    with pytest.raises(UserError, match="'a/b/c' lies inside the artifact 'a/b'"):
        store.put_tree(log, "a/b/c")
    with pytest.raises(UserError, match="'a' is a folder that holds the artifact 'a/b'"):
        store.put_tree(log, "a")


def test_names_with_spaces_and_other_alphabets_come_back(store: Store, tmp_path: Path) -> None:
    log = write(tmp_path / "made", **{"day=2022-04-25__part 0+é%.parquet": "x"})
    store.put_tree(log, "logs/été 1")
    assert store.keys() == ["logs/été 1"]
    store.get_tree("logs/été 1", tmp_path / "got")
    assert (tmp_path / "got" / "day=2022-04-25" / "part 0+é%.parquet").read_text() == "x"


SLOW_PUT = """
import shutil, sys, time
from pathlib import Path
import minio
from model.artifact.store import open_store

def then_hang(real):
    def call(*arguments, **options):
        done = real(*arguments, **options)
        print("bytes are there", flush=True)
        time.sleep(600)
        return done
    return call

shutil.copytree = then_hang(shutil.copytree)
minio.Minio.fput_object = then_hang(minio.Minio.fput_object)
open_store(sys.argv[1]).put_tree(Path(sys.argv[2]), "logs/today")
"""


def test_a_killed_put_leaves_no_artifact_visible_and_the_next_one_goes_on(
    store_uri: str, log: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SLOW_PUT, store_uri, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), cwd=Path.cwd()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bytes are there\n"
        process.kill()
    store = open_store(store_uri)
    assert store.keys() == []
    with pytest.raises(UserError, match="no artifact under key"):
        store.get_tree("logs/today", tmp_path / "got")
    other = write(tmp_path / "other", rows="other")
    store.put_tree(other, "logs/today")
    assert store.get_tree("logs/today", tmp_path / "got").files.keys() == {"rows"}


def test_a_folder_store_opens_by_path_and_by_file_uri(tmp_path: Path, log: Path) -> None:
    open_store(f"file://{tmp_path}/a%20b").put_tree(log, "x")
    assert open_store(str(tmp_path / "a b")).keys() == ["x"]


def test_a_file_flipped_in_a_folder_store_is_named_and_nothing_arrives(tmp_path: Path, log: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put_tree(log, "x")
    (tmp_path / "store/x/rows").write_text("rowz")
    with pytest.raises(UserError, match="file rows is broken"):
        store.get_tree("x", tmp_path / "got")
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize("uri", ["", "file://"])
def test_a_store_without_a_place_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=f"store '{uri}' names no place; use a folder"):
        open_store(uri)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UserError, match="unknown scheme 'gs'; use a folder, file:// or s3://bucket/prefix"):
        open_store("gs://bucket/x")
