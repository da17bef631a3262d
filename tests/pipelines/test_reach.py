"""Log, recipe, store and registry are asked before a run computes anything."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import pipelines.commands
from model.errors import Fault, MgoeError, UserError
from pipelines import reach
from pipelines.reach import check_live, check_log, check_registry

PAIR = {"name": "small", "baseline": {"architecture": "mmoe"}, "candidate": {"architecture": "mgoe"}}


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port at which nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


class NoRegistry(BaseHTTPRequestHandler):
    """A web server of something else."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def something_else() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), NoRegistry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def refused(*options: str, out: Path) -> MgoeError:
    """What `mgoe run` says, after which nothing of the run is there."""
    done = CliRunner().invoke(pipelines.commands.app, ["run", "--no-live", "--out", str(out), *options])
    assert isinstance(done.exception, MgoeError)
    assert done.output == ""
    assert not out.exists()
    return done.exception


def test_a_registry_that_is_down_ends_a_run_before_anything_is_made(nobody: str, tmp_path: Path) -> None:
    said = refused("--registry", nobody, out=tmp_path / "runs")
    assert isinstance(said, Fault)
    assert f"the registry at {nobody} does not answer (Connection refused)" in str(said)


def test_a_store_that_is_down_ends_a_run_before_anything_is_made(
    nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("S3_ENDPOINT_URL", nobody), ("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")):
        monkeypatch.setenv(name, value)
    said = refused("--store", "s3://bucket/artifacts", out=tmp_path / "runs")
    assert isinstance(said, Fault)
    assert f"S3 at {nobody} does not answer" in str(said)


@pytest.mark.parametrize(
    "options", [("--store", "s3://bucket/artifacts"), ("--data", "s3://bucket/log", "-r", "default")]
)
def test_s3_without_an_endpoint_ends_a_run_before_anything_is_made(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    said = refused(*options, out=tmp_path / "runs")
    assert isinstance(said, UserError)
    assert str(said).startswith("S3_ENDPOINT_URL is not set")


def test_a_server_that_is_no_registry_is_told_by_what_it_answers(something_else: str) -> None:
    with pytest.raises(Fault, match=rf"MLflow at {something_else} fails: .*404"):
        check_registry(something_else)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://me:secret@host", "holds a password"),
        ("ftp://host", "unknown scheme 'ftp'"),
        ("http://", "registry 'http://' is wrong: use http://host:port"),
    ],
)
def test_what_is_no_address_of_a_registry_is_refused(uri: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_registry(uri)


def test_a_log_that_is_there_is_not_read(tmp_path: Path) -> None:
    check_log(str(tmp_path))
    with pytest.raises(UserError, match="nowhere does not exist; name a folder, s3://bucket/prefix, or none"):
        check_log(str(tmp_path / "nowhere"))


def test_a_task_that_the_log_lacks_ends_a_run_before_anything_is_made(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{yaml.safe_dump(PAIR)}gate: {{required_tasks: [favour]}}\n")
    said = refused("--recipe", str(recipe), out=tmp_path / "runs")
    assert isinstance(said, UserError)
    assert "gate.required_tasks names the task 'favour', but the log's tasks are click, cart, buy" in str(said)


def test_a_rollout_without_envoy_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    said = refused("--live", out=tmp_path / "runs")
    assert isinstance(said, UserError)
    assert str(said).startswith("no program `envoy` here: ")
    assert str(said).endswith(", or give --no-live, which ends after registering")


def test_a_rollout_without_a_server_for_rankers_is_refused_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "find_spec", lambda package: None if package == "kserve" else package)
    with pytest.raises(UserError, match=r"needs the package 'kserve': pip install 'mgoe\[serve\]', or give --no-live"):
        check_live()
