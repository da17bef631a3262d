"""`mgoe console serve`: what does not fit is one line before anything is opened; what fits serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from model.errors import Fault, UserError
from serving.console.commands import app
from serving.console.server import ConsoleSettings, Entrance, make_site
from serving.rollout.sqlite_store import SqliteStore
from tests.serving.console.console_world import SPEC

ROOT = Path(__file__).parents[3]


def refusal(*words: str) -> str:
    result = CliRunner().invoke(app, ["serve", *words])
    assert isinstance(result.exception, UserError | Fault), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_options_that_do_not_fit_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    state = ("--state", "state")
    tokens = tmp_path / "tokens"
    tokens.write_text("view 0123456789abcdef\n")
    assert "exactly one of them" in refusal(*state)
    assert "exactly one of them" in refusal(*state, "--open", "--tokens", str(tokens))
    assert "--open: on loopback alone, not on 0.0.0.0" in refusal(*state, "--open", "--address", "0.0.0.0")  # noqa: S104
    assert "leave --store" in refusal(*state, "--open", "--store", "x.db")
    assert "leave --store" in refusal(*state, "--open", "-n", "ranking")
    assert "does not exist" in refusal("--state", "nowhere", "--open")
    assert "no rollouts here" in refusal("--store", "nowhere.db", "--open")
    assert "--trusted-proxy CIDR" in refusal(*state, "--trusted-header", "X-User")
    assert "database of kind" in refusal(*state, "--open", "--database", "mysql://x/y")
    assert "database of kind" in refusal(*state, "--open", "--evidence", "mysql://x/y")
    assert "No such file" in refusal(*state, "--open", "--key", "nowhere")
    assert "No such file" in refusal(*state, "--tokens", "nowhere")
    told = refusal(*state, "--open", "--registry", "http://user:secret@mlflow:5000")
    assert "holds a password" in told
    assert "secret" not in told
    assert "steer-tokens" not in refusal(*state, "--tokens", str(tokens), "--key", str(tokens))


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in refusal(
            "--state", str(tmp_path), "--open", "--port", str(port)
        )


def test_it_serves_a_folder_writes_the_audit_to_its_output_and_ends_when_told(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "rollouts.db").create("feed", SPEC)
    words = ["console", "serve", "--state", str(tmp_path), "--open", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mgoe", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=file, env=environment
        )
        try:
            deadline = time.monotonic() + 60
            while "listening on http 127.0.0.1:" not in log.read_text() and time.monotonic() < deadline:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            port = log.read_text().partition("listening on http 127.0.0.1:")[2].split()[0]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                assert client.get("/health/ready").json() == {"ready": True}
                asked = client.get("/rollouts/feed/wish/abort").text
                token = asked.partition('name="form_token" value="')[2].partition('"')[0]
                fields = {"form_token": token, "generation": "1", "run": "", "alarm": ""}
                origin = {"origin": f"http://127.0.0.1:{port}"}
                assert client.post("/rollouts/feed/wish/abort", data=fields, headers=origin).status_code == 303
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, log.read_text()
    lines = [json.loads(line)["audit"] for line in output.splitlines()]
    assert [(line["wish"], line["result"]) for line in lines] == [("abort", "asked"), ("abort", "written")]
    assert (tmp_path / "console.key").stat().st_mode & 0o777 == 0o600


def test_a_gateway_that_does_not_run_is_a_reason_and_not_an_end(tmp_path: Path) -> None:
    settings = ConsoleSettings("here", f"sqlite:///{tmp_path}/console.db", Entrance(), gateway=tmp_path)
    latencies = make_site(SqliteStore(tmp_path / "rollouts.db"), settings).latencies
    assert latencies is not None
    for told in ("no Envoy runs for", "does not answer"):
        latencies.look()
        latest = latencies.latest()
        assert latest is not None
        assert latest.problem is not None
        assert told in latest.problem
        (tmp_path / "admin.address").write_text("127.0.0.1:1\n")
