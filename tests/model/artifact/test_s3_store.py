"""What can go wrong with S3, on a real server."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import ProtocolError

from model.artifact.s3_store import RETRIES, S3Store
from model.artifact.store import Store, open_store
from model.artifact.writer import ArtifactWriter
from model.errors import Fault, UserError
from tests.plugins.rgw import S3Server

pytestmark = pytest.mark.s3
BIG = 12 << 20
"""More than two of the client's 5 MiB parts."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    out = tmp_path / "log"
    with ArtifactWriter(out, "log", "test") as writer:
        (writer.path / "a").write_text("first")
        (writer.path / "b").write_text("second")
    return out


def objects(server: S3Server, bucket: str) -> set[str]:
    return {str(found.object_name) for found in server.client().list_objects(bucket, recursive=True)}


def overwrite(server: S3Server, bucket: str, name: str, content: bytes) -> None:
    server.client().put_object(bucket, name, io.BytesIO(content), len(content))


def test_an_artifact_lies_as_plain_objects(s3_server: S3Server, s3_bucket: str, log: Path) -> None:
    open_store(f"s3://{s3_bucket}").put_tree(log, "x")
    assert objects(s3_server, s3_bucket) == {"x/a", "x/b", "x/manifest.json"}


def test_objects_that_a_replaced_artifact_left_are_removed(s3_server: S3Server, s3_bucket: str, log: Path) -> None:
    overwrite(s3_server, s3_bucket, "p/x/stale", b"stale")
    overwrite(s3_server, s3_bucket, "p/x-neighbour/a", b"not ours")
    open_store(f"s3://{s3_bucket}/p").put_tree(log, "x")
    assert objects(s3_server, s3_bucket) == {"p/x/a", "p/x/b", "p/x/manifest.json", "p/x-neighbour/a"}


def test_a_file_larger_than_one_part_comes_back_the_same(s3_bucket: str, tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "big", "log", "test") as writer:
        (writer.path / "rows").write_bytes(bytes(range(256)) * (BIG // 256))
    store = open_store(f"s3://{s3_bucket}")
    put = store.put_tree(tmp_path / "big", "x")
    assert store.get_tree("x", tmp_path / "got").digest == put.digest


def test_a_flipped_byte_is_named_and_nothing_arrives(
    s3_server: S3Server, s3_bucket: str, log: Path, tmp_path: Path
) -> None:
    store = open_store(f"s3://{s3_bucket}/p")
    store.put_tree(log, "x")
    overwrite(s3_server, s3_bucket, "p/x/b", b"sec0nd")
    with pytest.raises(UserError, match="file b is broken"):
        store.get_tree("x", tmp_path / "got")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    store.put_tree(log, "x")  # putting it again mends it
    store.get_tree("x", tmp_path / "got")


def test_a_missing_object_is_named_and_nothing_arrives(
    s3_server: S3Server, s3_bucket: str, log: Path, tmp_path: Path
) -> None:
    store = open_store(f"s3://{s3_bucket}/p")
    store.put_tree(log, "x")
    s3_server.client().remove_object(s3_bucket, "p/x/b")
    with pytest.raises(UserError, match=f"artifact s3://{s3_bucket}/p/x: file b is missing"):
        store.get_tree("x", tmp_path / "got")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_manifest_of_another_version_is_named_and_can_be_replaced(
    s3_server: S3Server, s3_bucket: str, log: Path, tmp_path: Path
) -> None:
    store = open_store(f"s3://{s3_bucket}")
    overwrite(s3_server, s3_bucket, "x/manifest.json", b'{"schema_version": 7}')
    with pytest.raises(UserError, match=f"artifact s3://{s3_bucket}/x: .* schema version 7; this mgoe reads version 1"):
        store.get_tree("x", tmp_path / "got")
    store.put_tree(log, "x")
    store.get_tree("x", tmp_path / "got")


def test_a_put_that_fails_before_the_manifest_hides_the_old_artifact_and_shows_no_new_one(
    s3_bucket: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"s3://{s3_bucket}")
    store.put_tree(log, "x")
    with ArtifactWriter(tmp_path / "new", "log", "test") as writer:
        (writer.path / "a").write_text("other")

    assert isinstance(store, S3Store)
    real = store._client.put_object

    def cut(bucket: str, name: str, *rest: Any, **options: Any) -> object:
        if name == "x/manifest.json":
            raise ProtocolError("Connection aborted.")
        return real(bucket, name, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(store._client, "put_object", cut)
        with pytest.raises(Fault, match=r"does not answer \(Connection aborted\.\)"):
            store.put_tree(tmp_path / "new", "x")
    assert not store.exists("x")
    store.put_tree(tmp_path / "new", "x")
    assert store.get_tree("x", tmp_path / "got").files.keys() == {"a"}


def test_a_wrong_secret_is_one_line_and_does_not_show_it(
    s3_bucket: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    with pytest.raises(UserError, match=r"refuses the access key .*SignatureDoesNotMatch.*check AWS_ACC") as caught:
        open_store(f"s3://{s3_bucket}").put_tree(log, "x")
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_access_key_is_one_line(s3_bucket: str, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(UserError, match=f"refuses the access key for bucket '{s3_bucket}'.*InvalidAccessKeyId"):
        open_store(f"s3://{s3_bucket}").exists("x")


def test_somebody_elses_bucket_is_refused(
    s3_server: S3Server, s3_bucket: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment(s3_server.make_user("stranger")).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"refuses the access key for bucket '{s3_bucket}'.*AccessDenied"):
        open_store(f"s3://{s3_bucket}").put_tree(log, "x")


def test_keys_that_may_only_read_are_refused_where_the_store_is_checked(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = s3_server.make_user("reader")
    reading = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
    names = [f"arn:aws:s3:::{s3_bucket}", f"arn:aws:s3:::{s3_bucket}/*"]
    policy = {"Version": "2012-10-17", "Statement": [reading | {"Resource": names}]}
    s3_server.client().set_bucket_policy(s3_bucket, json.dumps(policy))
    for name, value in s3_server.environment(stranger).items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{s3_bucket}")
    assert not store.exists("x")
    with pytest.raises(UserError, match=f"refuses the access key for bucket '{s3_bucket}'.*AccessDenied"):
        store.check()


def test_a_store_that_is_checked_is_left_as_it_was(s3_server: S3Server, s3_bucket: str) -> None:
    open_store(f"s3://{s3_bucket}/p").check()
    assert objects(s3_server, s3_bucket) == set()


ACTIONS: dict[str, Callable[[Store, Path], object]] = {
    "put": lambda store, log: store.put_tree(log, "x"),
    "get": lambda store, log: store.get_tree("x", log.parent / "got"),
    "exists": lambda store, log: store.exists("x"),
    "keys": lambda store, log: store.keys(),
    "check": lambda store, log: store.check(),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.usefixtures("s3_bucket")
def test_a_missing_bucket_is_named(log: Path, action: str) -> None:
    with pytest.raises(UserError, match="bucket 'no-such-bucket' does not exist at http://127"):
        ACTIONS[action](open_store("s3://no-such-bucket/x"), log)


@pytest.mark.parametrize("bucket", ["", "a", "Upper", "under_score", "x" * 64])
def test_a_wrong_bucket_name_is_refused_before_anything_is_sent(s3_bucket: str, bucket: str) -> None:
    with pytest.raises(UserError, match="is not a bucket name; use s3://bucket/prefix"):
        open_store(f"s3://{bucket}/prefix")


def test_an_endpoint_that_is_down_is_one_line(log: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("S3_ENDPOINT_URL", url)
    with pytest.raises(Fault, match=f"S3 at {url} does not answer .*check that it is up") as caught:
        open_store(f"s3://{s3_bucket}").put_tree(log, "x")
    assert "\n" not in str(caught.value)


@contextmanager
def cutting_proxy(server: S3Server, cuts: int) -> Iterator[str]:
    """A TCP proxy before the server that cuts the first `cuts` long answers in the middle. Yields its URL."""
    host, port = server.endpoint.removeprefix("http://").split(":")
    left = [cuts]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(source: socket.socket, target: socket.socket, may_cut: bool) -> None:
            passed = 0
            try:
                while chunk := source.recv(1 << 16):
                    target.sendall(chunk)
                    passed += len(chunk)
                    if may_cut and passed > 1 << 20 and left[0] > 0:
                        left[0] -= 1
                        break
            except OSError:
                pass  # the other direction has ended the connection
            for end in (source, target):
                hang_up(end)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return  # closed: the test is over
                upstream = socket.create_connection((host, int(port)))
                threading.Thread(target=pump, args=(client, upstream, False), daemon=True).start()
                threading.Thread(target=pump, args=(upstream, client, True), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        hang_up(listener)


def hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # the other side may have done so already
        end.shutdown(socket.SHUT_RDWR)


def test_a_download_that_is_cut_is_asked_for_again(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ArtifactWriter(tmp_path / "big", "log", "test") as writer:
        (writer.path / "rows").write_bytes(bytes(range(256)) * (BIG // 256))
    open_store(f"s3://{s3_bucket}").put_tree(tmp_path / "big", "x")
    with cutting_proxy(s3_server, cuts=RETRIES) as url:
        monkeypatch.setenv("S3_ENDPOINT_URL", url)
        open_store(f"s3://{s3_bucket}").get_tree("x", tmp_path / "got")
    with cutting_proxy(s3_server, cuts=RETRIES + 1) as url:
        monkeypatch.setenv("S3_ENDPOINT_URL", url)
        with pytest.raises(Fault, match=f"S3 at {url} does not answer .*check that it is up"):
            open_store(f"s3://{s3_bucket}").get_tree("x", tmp_path / "again")
    assert not (tmp_path / "again").exists()
